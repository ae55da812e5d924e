from events import new_id


def test_ids_are_version_7_and_sort_by_the_time_they_were_made() -> None:
    ids = [new_id() for _ in range(1000)]
    assert {identifier.version for identifier in ids} == {7}
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
