"""Samples in three dimensions: scans, voxels, pages and clips."""
