"""The code grows no further than its ceilings, and the list of the core is true."""

import pytest
from repository.figures import core_files, counted, read_limits

COUNTS = counted()
LIMITS = read_limits()


@pytest.mark.parametrize("name", COUNTS)
def test_a_count_is_not_above_its_ceiling(name: str) -> None:
    assert COUNTS[name] <= LIMITS[name].most, "see repository/figures.toml"


def test_the_core_is_a_list_of_files_that_exist() -> None:
    files = core_files()

    assert len(files) > 10
    assert [file for file in files if not file.is_file()] == []
