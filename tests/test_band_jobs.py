import pytest

from mlip import band_jobs, config, gate, jobs


@pytest.mark.parametrize(("device", "sizes"), [("cpu", [5, 5, 5, 5]), ("cuda", [20])])
def test_pools_hold_every_band_once(tmp_path, device, sizes):
    use = jobs.ModelUse(tmp_path, gate.Way("mace-torch", device, "float64"))
    todo = [band_jobs.BandJob(h, m, tmp_path, tmp_path, use, config.Neb(), "pbe") for h in range(10) for m in (1, 2)]
    found = band_jobs.pools(todo, workers=2)
    assert sorted(map(len, found)) == sizes
    assert {(job.hop, job.member) for part in found for job in part} == {(job.hop, job.member) for job in todo}
    if device == "cpu":
        assert all(len({job.member for job in part}) == 1 for part in found)
        assert sorted(map(len, band_jobs.pools(todo[:6:2], workers=2))) == [1, 2]  # nobody idles
    assert band_jobs.pools([], workers=2) == []
