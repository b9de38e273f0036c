"""NIfTI, DICOM, binvox and TIFF volumes: orientation, scaling, spacing, and what is refused."""

import builtins
import gzip
import io
import itertools

import nibabel
import numpy as np
import pydicom
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from striate.data import SkippedFileWarning, load_data
from striate.data.file import File, file_on_disk
from striate.data.volumes.binvox import decode_binvox
from striate.data.volumes.dicom import DicomReader
from striate.data.volumes.nifti import decode_nifti, read_nifti
from striate.data.volumes.tiff_pages import decode_pages
from striate.data.volumes.volume import MAX_VOXELS, Volume, resampled
from striate.errors import DataError

WHOLE = {"val_fraction": 0, "test_fraction": 0}


def write_nifti(path, array, affine=None, kind=nibabel.Nifti1Image, **header):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = kind(array, np.eye(4) if affine is None else affine)
    if header:
        image.header.set_slope_inter(header["slope"], header["inter"])
    nibabel.save(image, path)
    return file_on_disk(path, path.name)


def refused(call, *arguments):
    with pytest.raises(DataError) as caught:
        call(*arguments)
    return str(caught.value)


@given(order=st.permutations(range(3)), flips=st.tuples(*[st.sampled_from([1, -1])] * 3))
def test_any_orientation_of_one_body_gives_the_same_volume(tmp_path_factory, order, flips):
    body = np.random.default_rng(0).random((2, 3, 4), np.float32)
    sizes = np.array([2.0, 3.0, 4.0])
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, of in enumerate(order):
        affine[of, axis] = flips[axis] * sizes[of]
    stored = body.transpose(order)[tuple(slice(None, None, flip) for flip in flips)]
    file = write_nifti(tmp_path_factory.mktemp("n") / "a.nii", np.ascontiguousarray(stored), affine)
    volume = read_nifti(file)
    assert volume.spacing == (4.0, 3.0, 2.0)
    assert np.array_equal(volume.values[0].numpy(), body.transpose(2, 1, 0))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_values_are_those_of_nibabel(tmp_path, suffix, kind, dtype):
    array = (np.random.default_rng(1).random((3, 4, 5)) * 100).astype(dtype)
    file = write_nifti(tmp_path / f"a{suffix}", array, np.diag([1, 1, 2, 1]), kind, slope=0.5, inter=3)
    values, scale = decode_nifti(file, {"spacing": None})
    assert scale == 1.0
    assert values.dtype == torch.float32
    assert np.allclose(values[0].numpy(), nibabel.load(file.label).get_fdata().transpose(2, 1, 0))


@pytest.mark.parametrize("scaling", [(None, None), (1, 0), (1, 3), (0.5, 0), (np.nan, np.nan)])
@pytest.mark.parametrize("dtype", ["<i2", ">i4", ">f4", "<f8", "<u1"])
def test_stored_numbers_are_scaled_as_nibabel_does(tmp_path, scaling, dtype):
    array = np.random.default_rng(3).integers(0, 200, (4, 3, 2)).astype(dtype)
    image = nibabel.Nifti1Image(array, np.eye(4), nibabel.Nifti1Header(endianness=np.dtype(dtype).byteorder))
    image.header.set_slope_inter(*scaling)
    nibabel.save(image, tmp_path / "a.nii")
    values = read_nifti(file_on_disk(tmp_path / "a.nii", "a.nii")).values
    assert np.array_equal(values[0].numpy(), nibabel.load(tmp_path / "a.nii").get_fdata(dtype=np.float32).T)


def test_gzip_in_several_members(tmp_path):
    array = np.random.default_rng(4).random((5, 6, 7), np.float32)
    whole = write_nifti(tmp_path / "a.nii", array).read()
    cuts = [0, 1, 400, 401, len(whole)]
    packed = b"".join(gzip.compress(whole[a:b]) for a, b in itertools.pairwise(cuts))
    found = read_nifti(File("b.nii.gz", "b.nii.gz", len(packed), packed)).values
    assert np.array_equal(found[0].numpy(), array.T)
    # What comes after the voxels is not looked at.
    more = packed + b"\0" * 100
    assert torch.equal(read_nifti(File("b.nii.gz", "b.nii.gz", len(more), more)).values, found)
    short = gzip.compress(whole[:-8])
    assert "cut off" in refused(read_nifti, File("b.nii.gz", "b.nii.gz", len(short), short))


def test_a_fourth_axis_is_channels_and_flat_images_are_volumes(tmp_path):
    array = np.random.default_rng(2).random((3, 4, 5, 2), np.float32)
    values = read_nifti(write_nifti(tmp_path / "a.nii", array)).values
    assert np.array_equal(values.numpy(), array.transpose(3, 2, 1, 0))
    assert read_nifti(write_nifti(tmp_path / "b.nii", array[:, :, :, None, :])).values.shape == (2, 5, 4, 3)
    assert read_nifti(write_nifti(tmp_path / "c.nii", array[:, :, 0, 0])).values.shape == (1, 1, 4, 3)
    assert refused(read_nifti, write_nifti(tmp_path / "d.nii", np.zeros((2, 2, 2, 2, 2), np.float32))) == (
        f"Expected a volume, or one with channels along a fourth axis; received {tmp_path / 'd.nii'} of shape "
        "(2, 2, 2, 2, 2). Save each volume to a file of its own."
    )


def test_spacing_is_resampled_on_request(tmp_path):
    ramp = np.arange(8, dtype=np.float32)[:, None, None].repeat(4, 1).repeat(2, 2)
    file = write_nifti(tmp_path / "a.nii", ramp, np.diag([1.0, 1.0, 2.0, 1.0]))
    values, _ = decode_nifti(file, {"spacing": 2})
    assert values.shape == (1, 2, 2, 4)
    # Averages of neighbours, weighted by the triangle of antialiased interpolation, keep a ramp.
    assert torch.allclose(values[0, 0, 0, 1:3], torch.tensor([2.5, 4.5]), atol=1e-5)
    assert decode_nifti(file, {"spacing": [2, 1, 0.5]})[0].shape == (1, 2, 4, 16)
    assert refused(decode_nifti, file, {"spacing": [1, 1]}) == (
        f"Expected spacing to be one number, or three for depth, height and width; received spacing=[1, 1] for "
        f"{file.label}. Use 1 for a millimetre along each axis."
    )
    assert "a volume of 1 to" in refused(resampled, Volume(torch.zeros(1, 9, 9, 9), (1.0,) * 3), 1e-3, "a.nii")


def test_volumes_in_folders_are_scaled_one_by_one(tmp_path):
    for place, (name, index) in enumerate(itertools.product(("ill", "well"), range(3))):
        write_nifti(tmp_path / name / f"{index}.nii.gz", np.full((3, 4, 5), place, np.float32))
    dataset = load_data(tmp_path, **WHOLE, options={"spacing": 2})
    assert (dataset.kind, dataset.normalise, dataset.train.item_shape) == ("class-folder", "sample", (1, 2, 2, 2))
    assert dataset.reading["spacing"] == 2
    assert dataset.train.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_nifti_that_is_refused(tmp_path):
    good = write_nifti(tmp_path / "good.nii", np.zeros((4, 4, 4), np.float32))
    skewed = np.eye(4)
    skewed[0, 1] = 1
    path = write_nifti(tmp_path / "a.nii", np.zeros((4, 4, 4), np.float32), skewed).label
    assert refused(read_nifti, file_on_disk(tmp_path / "a.nii", "a.nii")) == (
        f"Expected an affine whose axes are at right angles; received {path} with axes at 45.0 degrees. Resample it "
        "to a straight grid first, for example with nibabel.processing.resample_to_output."
    )
    nan = np.zeros((2, 2, 2), np.float32)
    nan[0, 0] = [np.nan, np.inf]
    assert "with 2 that are NaN or infinite" in refused(read_nifti, write_nifti(tmp_path / "b.nii", nan))
    flat = write_nifti(tmp_path / "f.nii", np.zeros((2, 2, 2), np.float32))
    data = bytearray((tmp_path / "f.nii").read_bytes())
    data[280 : 280 + 48] = bytes(48)
    assert "an affine that places every voxel" in refused(read_nifti, File("f.nii", "f.nii", flat.size, bytes(data)))
    whole = (tmp_path / "good.nii").read_bytes()
    cut = File("a.nii", "a.nii", len(whole) - 8, whole[:-8])
    assert refused(read_nifti, cut) == (
        "Expected 608 bytes for 4 x 4 x 4 voxels; received a.nii with 600. It is cut off: copy or download it again."
    )
    for bad in (b"", b"hello" * 200, gzip.compress(whole)[:-20], gzip.compress(whole)[:30]):
        assert refused(read_nifti, File("a.nii", "a.nii", len(bad), bad)).startswith("Expected ")
    assert good.size == len(whole)


def test_an_absurd_header_is_refused_before_anything_is_inflated(tmp_path):
    write_nifti(tmp_path / "a.nii", np.zeros((2, 2, 2), np.float32))
    data = bytearray((tmp_path / "a.nii").read_bytes())
    data[42:48] = np.array([30000, 30000, 30000], "<i2").tobytes()
    for content in (bytes(data), gzip.compress(bytes(data))):
        assert refused(read_nifti, File("a.nii", "a.nii", len(content), content)) == (
            f"Expected a volume of 1 to {MAX_VOXELS} values; received a.nii, whose header says "
            "30000 x 30000 x 30000. Replace it, or cut or shrink it first."
        )


def test_complex_voxels_are_refused(tmp_path):
    file = write_nifti(tmp_path / "a.nii", np.zeros((2, 2, 2), np.complex64))
    assert "real numbers as voxels" in refused(read_nifti, file)


def test_a_missing_library_names_its_extra(tmp_path, monkeypatch):
    file = write_nifti(tmp_path / "a.nii", np.zeros((2, 2, 2), np.float32))
    importing = builtins.__import__

    def without(name, *rest):
        if name == "nibabel":
            raise ModuleNotFoundError(name=name)
        return importing(name, *rest)

    monkeypatch.setattr("importlib.import_module", lambda name: without(name))
    assert refused(read_nifti, file) == (
        f"Expected the library nibabel, which reads {file.label}; received an installation without it. "
        "Install it with: pip install 'striate[medical]'."
    )


def test_binvox():
    voxels = np.random.default_rng(3).random((3, 4, 5)) < 0.4  # width, depth, height
    flat = voxels.reshape(-1).astype(np.uint8)
    runs = b"".join(bytes([int(value), len(list(same))]) for value, same in itertools.groupby(flat))
    data = b"#binvox 1\ndim 3 4 5\ntranslate 0 0 0\nscale 1\ndata\n" + runs
    values, scale = decode_binvox(File("a.binvox", "a.binvox", len(data), data))
    assert scale == 1.0
    assert np.array_equal(values[0].numpy(), voxels.transpose(1, 2, 0))
    for bad in (data[:-2], data[:-1], data.replace(b"dim", b"dam"), b"", data.replace(b"3 4 5", b"3 4 99999999")):
        assert refused(decode_binvox, File("a.binvox", "a.binvox", len(bad), bad)).startswith("Expected ")
    assert refused(decode_binvox, File("a.binvox", "a.binvox", len(data) - 2, data[:-2])).endswith(
        "It is cut off or damaged: replace or remove it."
    )


def tiff(pages, **options):
    stream = io.BytesIO()
    first, *rest = [Image.fromarray(page) for page in pages]
    first.save(stream, "TIFF", save_all=True, append_images=rest, **options)
    data = stream.getvalue()
    return File("a.tif", "a.tif", len(data), data)


@pytest.mark.parametrize(("dtype", "scale"), [(np.uint8, 255.0), (np.uint16, 65535.0)])
def test_tiff_pages(dtype, scale):
    pages = np.random.default_rng(4).integers(0, 256, (5, 6, 7)).astype(dtype)
    values, found = decode_pages(tiff(pages))
    assert found == scale
    assert np.array_equal(values[0].numpy(), pages)


def test_tiff_pages_in_colour_and_mixed():
    pages = np.random.default_rng(5).integers(0, 256, (3, 6, 7, 3), np.uint8)
    assert np.array_equal(decode_pages(tiff(pages))[0].numpy(), pages.transpose(3, 0, 1, 2))
    assert refused(decode_pages, tiff([pages[0], pages[1][:4]])) == (
        "Expected pages of one size and kind, 7 x 6 RGB as the first; received page 2 of a.tif with 7 x 4 RGB. "
        "Save each kind of page to a file of its own."
    )
    whole = tiff(pages)
    cut = whole.content[: len(whole.content) // 2]
    assert "a complete TIFF file" in refused(decode_pages, File("a.tif", "a.tif", len(cut), cut))


def write_series(folder, volume, spacing=(2.0, 0.5, 0.7), patient="ann", turned=False, **changed):
    """Slices of (D, H, W) as scanners write them, in a shuffled order of names."""
    folder.mkdir(parents=True)
    series = generate_uid()
    names = np.random.default_rng(len(volume)).permutation(len(volume))
    for place, plane in enumerate(volume):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        meta.MediaStorageSOPInstanceUID = generate_uid()
        slice_ = pydicom.Dataset()
        slice_.file_meta = meta
        slice_.SOPClassUID, slice_.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        slice_.SeriesInstanceUID, slice_.PatientID = series, patient
        slice_.Rows, slice_.Columns = plane.shape
        slice_.PixelSpacing = list(spacing[1:])
        slice_.ImageOrientationPatient = [1, 0, 0, 0, 1, 0] if not turned else [-1, 0, 0, 0, -1, 0]
        slice_.ImagePositionPatient = [0, 0, place * spacing[0]]
        slice_.SamplesPerPixel, slice_.PhotometricInterpretation = 1, "MONOCHROME2"
        slice_.BitsAllocated = slice_.BitsStored = 16
        slice_.HighBit, slice_.PixelRepresentation = 15, 1
        slice_.RescaleSlope, slice_.RescaleIntercept = 2, -1024
        slice_.PixelData = plane.astype("<i2").tobytes()
        for key, value in changed.get(f"slice{place}", {}).items():
            setattr(slice_, key, value)
        if place != changed.get("without"):
            slice_.save_as(folder / f"{names[place]}.dcm", enforce_file_format=True)
    return folder


@pytest.fixture
def planes():
    return np.random.default_rng(6).integers(0, 1000, (5, 3, 4))


def test_dicom_series(tmp_path, planes):
    for name, patient in (("ill", "ann"), ("well", "bob")):
        for number in range(2):
            write_series(tmp_path / name / f"s{number}", planes, patient=patient, turned=number == 1)
    dataset = load_data(tmp_path, **WHOLE)
    assert (dataset.kind, dataset.classes, dataset.normalise) == ("dicom", ("ill", "well"), "sample")
    assert dataset.train.labels.tolist() == [0, 0, 1, 1]
    assert dataset.train.groups.tolist() == [0, 0, 1, 1]
    assert [dataset.train.name(index) for index in range(4)] == ["ill/s0", "ill/s1", "well/s0", "well/s1"]
    hounsfield = planes * 2.0 - 1024
    # DICOM counts to the left and to the back, the volumes here to the right and to the front.
    assert np.array_equal(dataset.train.inputs[0, 0].numpy(), hounsfield[:, ::-1, ::-1])
    assert np.array_equal(dataset.train.inputs[1, 0].numpy(), hounsfield)
    assert load_data(tmp_path, **WHOLE, options={"spacing": 1}).train.item_shape == (1, 10, 2, 3)
    assert load_data(tmp_path, **WHOLE, image_size=(4, 4, 4), fit="pad").train.item_shape == (1, 4, 4, 4)


def test_a_series_is_read_by_one_of_its_slices(tmp_path, planes):
    folder = write_series(tmp_path / "s", planes)
    ((_, values),) = DicomReader().read_new(file_on_disk(folder / "0.dcm", "0.dcm"), {"spacing": None})
    assert values.shape == (1, 5, 3, 4)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"without": 2}, "1 slices missing"),
        ({"slice1": {"ImagePositionPatient": [0, 0, 2.6]}}, "mm apart"),
        ({"slice2": {"ImagePositionPatient": [0, 0, 2.0]}}, "in the same"),
        ({"slice3": {"PixelSpacing": [0.5, 0.9]}}, "Expected slices of one pixel spacing, (0.5, 0.7)"),
        ({"slice3": {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}}, "Expected slices of one orientation"),
        ({"slice0": {"NumberOfFrames": 2}}, "with 2 frames of 1 values per pixel"),
        ({"slice0": {"ImagePositionPatient": None}}, "ImagePositionPatient is missing"),
    ],
)
def test_series_that_are_refused(tmp_path, planes, changed, told):
    write_series(tmp_path / "ill" / "s0", planes, **changed)
    write_series(tmp_path / "well" / "s0", planes)
    assert told in refused(load_data, tmp_path)


def test_an_incomplete_series_may_be_left_out_by_name(tmp_path, planes):
    for name, without in (("a", None), ("b", 2), ("c", None)):
        write_series(tmp_path / "ill" / name, planes, without=without)
        write_series(tmp_path / "well" / name, planes)
    with pytest.warns(SkippedFileWarning, match="ill/b"):
        dataset = load_data(tmp_path, **WHOLE, skip_corrupt=True)
    assert len(dataset.train) == 5
    assert dataset.skipped[0].name == "ill/b"


def test_damaged_slices_are_named(tmp_path, planes):
    folder = write_series(tmp_path / "ill" / "s0", planes)
    write_series(tmp_path / "well" / "s0", planes)
    whole = (folder / "1.dcm").read_bytes()
    (folder / "1.dcm").write_bytes(whole[:-9])
    assert "1.dcm" in refused(load_data, tmp_path)
    (folder / "1.dcm").write_bytes(b"no slice")
    assert "1.dcm, which cannot be decoded" in refused(load_data, tmp_path)


def test_folders_of_series_that_are_refused(tmp_path, planes):
    write_series(tmp_path / "a" / "train" / "ill" / "s0", planes)
    write_series(tmp_path / "a" / "train" / "well" / "s0", planes)
    write_series(tmp_path / "a" / "test" / "odd" / "s0", planes)
    assert "test/odd/s0" in refused(load_data, tmp_path / "a")
    assert "with class 'odd'" in refused(load_data, tmp_path / "a")
    askew = {f"slice{place}": {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]} for place in range(5)}
    write_series(tmp_path / "b" / "ill" / "s0", planes, **askew)
    write_series(tmp_path / "b" / "well" / "s0", planes)
    assert "rows and columns at right angles" in refused(load_data, tmp_path / "b")


def test_parts_of_series(tmp_path, planes):
    for split, name in itertools.product(("train", "test"), ("ill", "well")):
        write_series(tmp_path / split / name / "s0", planes, patient=split)
    dataset = load_data(tmp_path, val_fraction=0)
    assert dataset.official == ("train", "test")
    assert (dataset.train.groups.tolist(), dataset.test.groups.tolist()) == ([1, 1], [0, 0])


def test_slices_without_an_extension_are_known_by_their_beginning(tmp_path, planes):
    for name in ("ill", "well"):
        folder = write_series(tmp_path / name / "s0", planes)
        for file in folder.iterdir():
            file.rename(folder / file.stem)
    assert load_data(tmp_path, **WHOLE).train.item_shape == (1, 5, 3, 4)
