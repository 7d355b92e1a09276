"""Every setting of the tables by its names, Hall symbol and code; which axes are standard; planes that are equal."""

import gemmi  # noqa: TID253 (the tables are what is tested)
import numpy as np
import pytest
import spglib  # noqa: TID253

from mlip.atoms import spacegroups

TABLE = list(gemmi.spacegroup_table_itb())
LETTERS = {"1": "S", "2": "Z", "H": "H", "R": "R"}


def as_set(operations):
    return {
        (tuple(np.rint(24 * rotation).astype(int).ravel()), tuple(np.rint(24 * shift).astype(int) % 24))
        for rotation, shift in operations
    }


def of(group):
    return as_set((np.array(op.rot) / op.DEN, np.array(op.tran) / op.DEN) for op in group.operations())


def named(name=None, *, hall=None, number=None, code=None, strict=True):
    return spacegroups.named(hall=hall, name=name, number=number, code=code, strict=strict)


def test_every_setting_by_its_name():
    for group in TABLE:
        names = {group.xhm(), group.xhm().replace(" ", ""), group.xhm().replace(":", " :").upper()}
        if group.ext in LETTERS:
            names |= {f"{group.hm} {LETTERS[group.ext]}", f"{group.hm.replace(' ', '')}{LETTERS[group.ext]}"}
        for name in names:
            (found,) = named(name, number=group.number)
            assert as_set(found.operations) == of(group), name


def test_every_setting_by_its_hall_symbol():
    for group in TABLE:
        (found,) = named(hall=group.hall, number=group.number)
        assert as_set(found.operations) == of(group), group.hall


def test_a_name_without_its_origin_gives_every_origin():
    for group in TABLE:
        assert of(group) in [as_set(s.operations) for s in named(group.hm)], group.hm
    assert [s.name for s in named("F d -3 m")] == ["F d -3 m:1", "F d -3 m:2"]
    assert [s.name for s in named(number=167)] == ["R -3 c:H", "R -3 c:R"]


def test_full_names_give_their_group():
    for hall in range(1, 531):
        group = spglib.get_spacegroup_type(hall)
        for name in (group.international_full, group.international_short):
            assert {s.number(7 * np.eye(3)) for s in named(name)} <= {group.number, None}, name


@pytest.mark.parametrize(("number", "code", "name"), [(62, "cab", "P b n m"), (14, "b2", "P 1 21/n 1"), (14, "c1", "P 1 1 21/a"), (141, "2", "I 41/a m d:2")])  # fmt: skip
def test_codes_of_axes_and_origins(number, code, name):
    assert [s.name for s in named(number=number, code=code)] == [name]


def test_standard_axes_are_told_from_others():
    standard = {g.xhm() for g in TABLE if spacegroups.fingerprint([*map_operations(g)]) == fingerprint_of(g)}
    for name in ("P n m a", "I 41/a m d:1", "I 41/a m d:2", "R -3 m:H", "P 1 21/c 1", "F d -3 m:1"):
        assert name in standard
    for name in ("P b n m", "R -3 m:R", "P 1 21/n 1", "A 1 2/n 1", "P 1 1 21/b", "C c m b"):
        assert name not in standard
    assert {g.number for g in TABLE if g.xhm() in standard} == set(spacegroups.GROUPS)


def map_operations(group):
    return ((np.array(op.rot) / op.DEN, np.array(op.tran) / op.DEN) for op in group.operations())


def fingerprint_of(group):
    return spacegroups.standard_fingerprint(group.number)


@pytest.mark.parametrize(
    ("number", "one", "other", "equal"),
    [
        (141, (1, 0, 0), (0, 1, 0), True),
        (141, (1, 0, 1), (0, -1, 1), True),
        (141, (1, 0, 0), (0, 0, 1), False),
        (225, (1, 1, 0), (0, 1, -1), True),
        (62, (1, 0, 0), (0, 1, 0), False),
        (1, (1, 2, 3), (-1, -2, -3), True),
        (194, (1, 0, 0), (0, 1, 0), True),
        (194, (1, 0, 0), (1, -1, 0), True),
    ],
)
def test_planes_that_symmetry_makes_equal(number, one, other, equal):
    assert (other in spacegroups.planes(number, one)) == equal


@pytest.mark.parametrize(
    ("triplet", "shift"),
    [
        ("1/2+x,y,z", 0.5),
        ("X+0.5, Y, Z", 0.5),
        ("x+.3333,y,z", 1 / 3),
        ("x + 2/3 , y , z", 2 / 3),
        ("+x-1/4,+y,+z", 0.75),
    ],
)
def test_ways_to_write_an_operation(triplet, shift):
    moves = [w[0] % 1 for _, w in spacegroups.from_operations(["x,y,z", *powers(triplet, shift)]).operations]
    assert np.isclose(moves, shift).any()


def powers(triplet, shift):
    """The operation and what closes its group."""
    order = round(1 / min(shift, 1 - shift))
    return [triplet] + [f"x+{n * shift:.6f},y,z" for n in range(2, order)]


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"name": "P q 3"}, "space group 'P q 3' is unknown"),
        ({"hall": "-X 4"}, "space group '-X 4' is unknown"),
        ({"number": 0}, "space group no. 0 does not exist; give 1 to 230"),
        ({"name": "P n m a", "number": 63}, "'P n m a' is no. 62, stated is no. 63; correct one of them"),
        ({"hall": "-P 2ac 2n", "number": 63}, "'-P 2ac 2n' is no. 62, stated is no. 63"),
    ],
)
def test_what_cannot_be_is_refused(stated, message):
    with pytest.raises(ValueError, match=message):
        named(**stated)
    assert named(**stated, strict=False) == []
