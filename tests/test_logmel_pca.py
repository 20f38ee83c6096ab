"""Principal components of the log-mel spectrogram: scikit-learn's PCA, definitions, files and refusals."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles
from sklearn.decomposition import PCA, IncrementalPCA

from brainalign.errors import ModelError, StimulusError
from brainalign.models import load_model, logmel_pca
from brainalign.models.extraction import extract
from brainalign.models.hooked import HookedModel
from brainalign.models.logmel import LogMel
from brainalign.models.logmel_pca import fit_logmel_pca, save_logmel_pca
from brainalign.stimuli import StimulusSet, load_stimuli


@pytest.fixture(scope="module")
def demo() -> StimulusSet:
    return load_stimuli("demo")


@pytest.fixture(scope="module")
def fitted(demo: StimulusSet) -> HookedModel:
    """Components of windows of 12 frames, five of them from each sound."""
    return fit_logmel_pca(demo, n_components=20, duration_s=0.15)


def spectrogram(stimuli: StimulusSet, stimulus_id: str) -> np.ndarray:
    waveform, _ = stimuli.waveform(stimulus_id, 22_050)
    return LogMel()(torch.from_numpy(waveform)[None])[0, 0].numpy().astype(np.float64)


def windows(stimuli: StimulusSet, stimulus_id: str, n_frames: int) -> np.ndarray:
    """Cut a spectrogram by hand: a window every quarter of its length."""
    values = spectrogram(stimuli, stimulus_id)
    starts = range(0, values.shape[1] - n_frames + 1, n_frames // 4)
    return np.stack([values[:, s : s + n_frames].ravel() for s in starts])


class TestFit:
    def test_scikit_learn_gives_the_same(self, demo: StimulusSet) -> None:
        few = demo.select(demo.ids[::3])
        model = fit_logmel_pca(few, n_components=30, duration_s=0.3, windows_per_sound=99)
        cut = {i: windows(few, i, 24) for i in few.ids}
        pca = PCA(30, svd_solver="full").fit(np.concatenate(list(cut.values())))
        ratio = model.module.pca.explained_variance_ratio.numpy()
        np.testing.assert_allclose(ratio, pca.explained_variance_ratio_, rtol=1e-5)
        assert model.record["explained_variance"] == pytest.approx(pca.explained_variance_ratio_.sum())
        assert model.record["training_windows"] == sum(map(len, cut.values()))
        responses = extract(model, few)
        expected = np.stack([pca.transform(c).mean(axis=0) for c in cut.values()])
        signs = np.sign((responses.values * expected).sum(axis=0))
        np.testing.assert_allclose(responses.values * signs, expected, atol=2e-3)

    def test_windows_as_long_as_the_sounds_are_whole_sounds(self, demo: StimulusSet) -> None:
        few = demo.select(demo.ids[::3])
        model = fit_logmel_pca(few, n_components=10, duration_s=161 * 275 / 22_050)
        whole = np.stack([spectrogram(few, i).ravel() for i in few.ids])
        assert model.record["training_windows"] == len(few)
        pca = PCA(10, svd_solver="full").fit(whole)
        scores = extract(model, few).values
        np.testing.assert_allclose(np.abs(scores), np.abs(pca.transform(whole)), atol=5e-3)

    def test_in_batches_nearly_the_same(self, demo: StimulusSet, monkeypatch: pytest.MonkeyPatch) -> None:
        sizes = []

        class Watched(IncrementalPCA):
            def partial_fit(self, X: np.ndarray, y: None = None, check_input: bool = True) -> IncrementalPCA:
                sizes.append(len(X))
                return super().partial_fit(X, y, check_input)

        options = {"n_components": 20, "duration_s": 0.15, "windows_per_sound": 8}
        whole = fit_logmel_pca(demo, **options)
        monkeypatch.setattr("sklearn.decomposition.IncrementalPCA", Watched)
        monkeypatch.setattr(logmel_pca, "_BATCH", 60)
        parts = fit_logmel_pca(demo, **options)
        assert len(sizes) >= 7
        assert max(sizes) < 2 * 60
        assert sum(sizes) == 66 * 8
        a, b = whole.module.pca, parts.module.pca
        assert parts.record["training_windows"] == whole.record["training_windows"] == 66 * 8
        torch.testing.assert_close(a.mean, b.mean, atol=1e-4, rtol=1e-5)
        ratios = (b.explained_variance_ratio / a.explained_variance_ratio).numpy()
        assert (ratios < 1 + 1e-6).all(), "a part of the variance is lost on the way, none is made"
        assert ratios.min() > 0.97
        assert np.degrees(subspace_angles(a.components[:10].numpy().T, b.components[:10].numpy().T)).max() < 5

    def test_components_are_orthonormal_and_ordered(self, fitted: HookedModel) -> None:
        pca = fitted.module.pca
        torch.testing.assert_close(pca.components @ pca.components.T, torch.eye(20), atol=1e-5, rtol=0)
        ratio = pca.explained_variance_ratio
        assert (ratio.diff() <= 0).all()
        assert 0 < fitted.record["explained_variance"] < 1

    def test_training_scores_average_to_nothing(self, demo: StimulusSet) -> None:
        few = demo.select(demo.ids[::3])
        model = fit_logmel_pca(few, n_components=20, duration_s=0.15, windows_per_sound=99)
        scores = extract(model, few).values
        assert np.abs(scores.mean(axis=0)).max() < 1e-3 * scores.std()

    def test_the_draw_of_windows(self, demo: StimulusSet, fitted: HookedModel) -> None:
        again, other = (fit_logmel_pca(demo, n_components=20, duration_s=0.15, seed=s) for s in (0, 1))
        assert again.record == fitted.record
        assert other.record["weights_sha256"] != fitted.record["weights_sha256"]
        assert fitted.record["training_windows"] == 5 * len(demo)

    def test_the_record_names_the_training_sounds(self, demo: StimulusSet, fitted: HookedModel) -> None:
        assert fitted.record["training_set"] == "demo 1"
        assert fitted.record["training_sounds"] == 66
        assert fitted.record["window_s"] == pytest.approx(0.15, abs=0.0063)
        louder = dataclasses.replace(demo, manifest=demo.manifest.model_copy(update={"target_rms": 0.1}))
        digest = fit_logmel_pca(louder, n_components=20, duration_s=0.15).record["training_sounds_sha256"]
        assert digest != fitted.record["training_sounds_sha256"]

    def test_default_is_256_components(self) -> None:
        model = load_model("logmel-pca:demo")
        assert model.name == "logmel-pca:demo"
        assert model.activations(torch.randn(2, 44_100) * 0.1, ["pca"])["pca"].shape == (2, 256, 5)
        assert model.record["window_s"] == pytest.approx(1.0, abs=0.01)
        # 330 windows less their mean have 329 directions; 256 of them hold nearly all.
        assert 0.99 < model.record["explained_variance"] < 1

    @pytest.mark.realdata
    def test_the_165_natural_sounds_are_nearly_as_compact_as_the_papers_clips(self) -> None:
        # Kim et al. report 0.965 for 256 components of their AudioSet clips.
        assert load_model("logmel-pca:natsound165").record["explained_variance"] == pytest.approx(0.965, abs=0.01)


class TestRefusals:
    def test_fewer_windows_than_components(self, demo: StimulusSet) -> None:
        few = demo.select(demo.ids[:10])
        with pytest.raises(ModelError, match=r"50 windows of 768 values .* at most 49 components, 50 are asked for"):
            fit_logmel_pca(few, n_components=50, duration_s=0.15)
        assert fit_logmel_pca(few, n_components=49, duration_s=0.15).record["n_components"] == 49

    def test_the_same_sound_again_and_again(self, demo: StimulusSet) -> None:
        first = demo.ids[0]
        same = StimulusSet(demo.manifest, demo.table, lambda _: demo.source(first))
        with pytest.raises(ModelError, match=r"vary in \d+ directions only, 100 components"):
            fit_logmel_pca(same, n_components=100, duration_s=1.0)

    def test_a_sound_shorter_than_a_window(self, demo: StimulusSet, fitted: HookedModel) -> None:
        cut = StimulusSet(
            demo.manifest,
            demo.table,
            lambda i: (demo.source(i)[0][: 2_000 if i == demo.ids[3] else None], 22_050),
        )
        with pytest.raises(StimulusError, match=rf"{demo.ids[3]!r} of demo is too short .* 0.091 s, the windows take"):
            fit_logmel_pca(cut, n_components=20, duration_s=0.15)
        with pytest.raises(ModelError, match=f"{demo.ids[3]!r} is too short"):
            extract(fitted, cut)

    @pytest.mark.parametrize("wrong", [{"n_components": 0}, {"duration_s": 0.0}, {"windows_per_sound": 0}])
    def test_nothing_asked_for(self, demo: StimulusSet, wrong: dict[str, int]) -> None:
        with pytest.raises(ModelError, match="at least one component, one frame and one window"):
            fit_logmel_pca(demo, **wrong)  # type: ignore[arg-type]

    def test_names(self) -> None:
        with pytest.raises(ModelError, match="names no training set; use 'logmel-pca:SET'"):
            load_model("logmel-pca")
        with pytest.raises(StimulusError, match="no stimulus set and no folder 'demos'; did you mean 'demo'"):
            load_model("logmel-pca:demos")
        with pytest.raises(ModelError, match="no random control"):
            load_model("logmel-pca@random:0")


class TestFiles:
    def test_there_and_back(self, demo: StimulusSet, fitted: HookedModel, tmp_path: Path) -> None:
        path = tmp_path / "new" / "mine.safetensors"
        save_logmel_pca(fitted, path)
        assert sorted(p.name for p in path.parent.iterdir()) == ["mine.json", "mine.safetensors"]
        model = load_model(f"logmel-pca:{path}")
        assert model.name == f"logmel-pca:{path}"
        assert model.record == fitted.record
        few = demo.select(demo.ids[:4])
        np.testing.assert_array_equal(extract(model, few).values, extract(fitted, few).values)

    def test_a_file_alone_and_a_card_of_another(self, demo: StimulusSet, fitted: HookedModel, tmp_path: Path) -> None:
        path, other = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
        save_logmel_pca(fitted, path)
        save_logmel_pca(fit_logmel_pca(demo, n_components=20, duration_s=0.15, seed=1), other)
        other.with_suffix(".json").replace(path.with_suffix(".json"))
        with pytest.raises(ModelError, match=r"a.safetensors and its card a.json do not belong together"):
            load_model(f"logmel-pca:{path}")
        path.with_suffix(".json").write_text("{}", encoding="utf-8")
        with pytest.raises(ModelError, match="is no card of logmel-pca: KeyError: 'n_components'"):
            load_model(f"logmel-pca:{path}")
        path.with_suffix(".json").unlink()
        with pytest.raises(ModelError, match=r"a.safetensors has no card a.json beside it"):
            load_model(f"logmel-pca:{path}")
        with pytest.raises(ModelError, match="no file of components"):
            load_model(f"logmel-pca:{tmp_path / 'c.safetensors'}")

    def test_a_file_of_another_size(self, fitted: HookedModel, tmp_path: Path) -> None:
        path = tmp_path / "a.safetensors"
        save_logmel_pca(fitted, path)
        card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        path.with_suffix(".json").write_text(json.dumps({**card, "n_components": 7}), encoding="utf-8")
        with pytest.raises(ModelError, match=r"components is \(20, 768\), expected \(7, 768\)"):
            load_model(f"logmel-pca:{path}")

    def test_what_cannot_be_saved(self, fitted: HookedModel, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match=r"to a .safetensors file, not 'a.npz'"):
            save_logmel_pca(fitted, tmp_path / "a.npz")
        with pytest.raises(ModelError, match="'logmel' is no logmel-pca"):
            save_logmel_pca(load_model("logmel"), tmp_path / "a.safetensors")  # type: ignore[arg-type]
