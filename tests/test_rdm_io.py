"""RDMs survive a round trip, in their order, and faulty files say what is wrong."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

from brainalign.errors import MeasureError
from brainalign.measures.rdm import make_rdms
from brainalign.measures.rdm_io import from_rsatoolbox, load_rdms, save_rdms, to_rsatoolbox


def rdms(n=12):
    rng = np.random.default_rng(0)
    values = np.stack([squareform(pdist(rng.standard_normal((n, 4)))) for _ in range(3)])
    # Names whose alphabetic order is another one.
    return make_rdms(
        values - 0.5 * (1 - np.eye(n)), [f"s{i}" for i in range(n)], ["b", "a", "c"], np.repeat(["x", "é"], n // 2)
    )


@pytest.mark.parametrize("name", ["r.nc", "r.npz"])
def test_files(tmp_path, name):
    given = rdms()
    found = load_rdms(save_rdms(given, tmp_path / "new" / name))
    assert found.identical(given)
    assert [p.name for p in (tmp_path / "new").iterdir()] == [name]


def test_rsatoolbox():
    given = rdms()
    peer = to_rsatoolbox(given)
    np.testing.assert_allclose(peer.get_matrices(), given.values)
    assert peer.pattern_descriptors["stimulus"] == given["stimulus"].values.tolist()
    assert from_rsatoolbox(peer).identical(given)


def test_rsatoolbox_gaps_and_names():
    peer = to_rsatoolbox(rdms())
    with pytest.raises(MeasureError, match="no pattern descriptor 'conds'"):
        from_rsatoolbox(peer, stimulus="conds")
    with pytest.raises(MeasureError, match="no RDM descriptor 'subj'"):
        from_rsatoolbox(peer, name="subj")
    # What rsatoolbox gives for a constant pattern: a row of NaN.
    values = peer.get_matrices()
    values[:, 4] = values[:, :, 4] = np.nan
    peer.dissimilarities = np.array([squareform(v, checks=False) for v in values])
    with pytest.raises(MeasureError, match="for the stimuli s4;"):
        from_rsatoolbox(peer)


def test_bad_files(tmp_path):
    with pytest.raises(MeasureError, match="no file"):
        load_rdms(tmp_path / "none.nc")
    with pytest.raises(MeasureError, match=r"must end in '.nc' or '.npz'"):
        save_rdms(rdms(), tmp_path / "r.pkl")
    for name, said in (("r.nc", "r.nc is a pickle; arrays are read from netCDF-4 only"), ("r.npz", "cannot be read")):
        (tmp_path / name).write_bytes(b"\x80\x04not data")
        with pytest.raises(MeasureError, match=said):
            load_rdms(tmp_path / name)
    np.savez(tmp_path / "objects.npz", rdms=np.array([{}], dtype=object), rdm=["a"], stimulus=["b"])
    with pytest.raises(MeasureError, match="cannot be read"):
        load_rdms(tmp_path / "objects.npz")
    np.savez(tmp_path / "other.npz", rdms=np.zeros((1, 2, 2)))
    with pytest.raises(MeasureError, match="holds no 'rdm', 'stimulus', found rdms"):
        load_rdms(tmp_path / "other.npz")
