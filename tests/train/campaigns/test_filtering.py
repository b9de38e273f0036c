"""Conditions on runs: what they mean, and what cannot be read."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from striate.errors import InputError
from striate.train.campaigns.filtering import Condition

RUN = {"data": "digits28", "val_accuracy": 0.93, "epochs": 12, "model": "lenet", "note": "two words", "on": True}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("data=digits28", True),
        ("data==DIGITS28", True),
        ("data = digits28 and val_accuracy > 0.9", True),
        ("data=digits28 and val_accuracy>0.95", False),
        ("data=mnist or val_accuracy>=0.93", True),
        ("not data=mnist", True),
        ("not (data=digits28 or model=lenet)", False),
        ("data=mnist and model=lenet or epochs<=12", True),  # and binds more tightly
        ("data=mnist and (model=lenet or epochs<=12)", False),
        ("model~ene", True),
        ("model!=lenet5", True),
        ("note='two words'", True),
        ('note="two words" and epochs=12.0', True),
        ("epochs<9", False),  # as numbers: as texts "12" would come first
        ("on=true", True),
        ("absent=1", False),
        ("absent!=1", False),
        ("not absent=1", True),
    ],
)
def test_conditions(text, holds):
    assert Condition.parse(text)(RUN.get) is holds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expected the name of a column or setting; received the end in ''"),
        ("data", "Expected one of = != < <= > >= ~ after 'data'; received the end"),
        ("data=", "Expected a value after 'data='; received the end"),
        ("data=a model=b", "Expected 'and', 'or' or the end after 'data=a'; received 'model'"),
        ("(data=a", "Expected a closing bracket after '(data=a'; received the end"),
        ("data=a)", "Expected 'and', 'or' or the end after 'data=a'; received ')'"),
        ("data=a and", "Expected the name of a column or setting after 'data=a and'"),
        ("data=!", "Expected names, operators, values and brackets after 'data='; received '!'"),
        ("data='a", 'received "\'" in'),
        ("__import__('os').system('ls')", "Expected one of ="),
        ("not " * 50 + "a=b", "Expected at most 40 conditions within each other"),
        ("(" * 200 + "a=b" + ")" * 200, "Expected at most 40 conditions within each other"),
        ("a=b or " * 400 + "a=b", "Expected a condition of at most 2000 characters; received 2803 of them"),
    ],
)
def test_what_cannot_be_read(text, message):
    with pytest.raises(InputError) as raised:
        Condition.parse(text)
    assert message in str(raised.value)


def test_the_names_that_are_asked_for():
    assert Condition.parse("a=1 and (b.c>2 or not d~3)").names == {"a", "b.c", "d"}


@given(st.text(st.sampled_from("ab1.=<>!~()'\" andor"), max_size=40))
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(InputError):
        Condition.parse(text)(RUN.get)


@given(st.recursive(st.booleans(), lambda inner: st.tuples(st.sampled_from(["and", "or", "not"]), inner, inner)))
def test_logic_is_pythons(tree):
    def text(node):
        if isinstance(node, bool):
            return f"a={int(node)}"
        word, one, two = node
        return f"not ({text(one)})" if word == "not" else f"({text(one)}) {word} ({text(two)})"

    def truth(node):
        if isinstance(node, bool):
            return node
        word, one, two = node
        if word == "not":
            return not truth(one)
        return (truth(one) and truth(two)) if word == "and" else (truth(one) or truth(two))

    if len(text(tree)) <= 2000 and text(tree).count("(") < 40:
        assert Condition.parse(text(tree))({"a": "1"}.get) is truth(tree)
