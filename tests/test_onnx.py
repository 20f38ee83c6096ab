"""An ONNX file listens as the torch module it was made from, at every tensor inside it."""

from __future__ import annotations

import importlib
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from brainalign.errors import MissingExtraError, ModelError
from brainalign.models import AudioModel, load_model
from brainalign.models.onnx import OnnxModel, tensor_names

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
RATE = 1_000


class Net(nn.Module):
    """Has a convolution, a recurrent layer whose output is time first, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(1, 4, 9, stride=4)
        self.recurrent = nn.GRU(4, 3)
        self.head = nn.Linear(3, 2)

    def forward(self, waveforms: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        maps = torch.relu(self.convolution(waveforms[:, None]))
        sequence, _ = self.recurrent(maps.permute(2, 0, 1))
        return maps, sequence, self.head(sequence.mean(dim=0))


NAMES = ["maps", "sequence", "logits"]


def net() -> Net:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Net().eval()


def noise(n_sounds: int, n_samples: int, seed: int = 0) -> Tensor:
    return 0.3 * torch.randn(n_sounds, n_samples, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the network with only its logits as an output: the others are inside."""
    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    axes = {"waveforms": {0: "sounds", 1: "samples"}, **{name: {0: "a", 1: "b", 2: "c"} for name in NAMES[:2]}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about its own future
        torch.onnx.export(
            net(),
            (noise(2, 500),),
            path,
            input_names=["waveforms"],
            output_names=NAMES,
            dynamic_axes=axes,
            dynamo=False,
        )
    model = onnx.load(path)
    del model.graph.output[:2]
    onnx.save(model, path)
    return path


def graph(
    nodes: list[Any],
    shape: list[Any],
    outputs: list[str],
    constants: dict[str, np.ndarray] | None = None,
    **metadata: str,
) -> Any:
    """Make a model of one input ``x``."""
    helper = onnx.helper
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs],
        [onnx.numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, metadata)
    return model


def saved(model: Any, path: Path, **options: Any) -> Path:
    onnx.save(model, path, **options)
    return path


class TestAgainstTorch:
    @pytest.mark.parametrize(("n_sounds", "n_samples"), [(1, 9), (3, 400), (2, 2_500)])
    def test_every_tensor_inside(self, exported: Path, n_sounds: int, n_samples: int) -> None:
        model = load_model(f"onnx:{exported}?sample_rate={RATE}")
        assert isinstance(model, AudioModel)
        samples = noise(n_sounds, n_samples, seed=n_samples)
        with torch.inference_mode():
            maps, sequence, logits = net()(samples)
        given = model.activations(samples, list(model.layouts))
        torch.testing.assert_close(given["maps"], maps, rtol=0, atol=1e-5)
        torch.testing.assert_close(given["sequence"], sequence.transpose(0, 1), rtol=0, atol=1e-5)
        torch.testing.assert_close(given["logits"], logits, rtol=0, atol=1e-5)

    def test_layouts(self, exported: Path) -> None:
        model = OnnxModel(exported, sample_rate=RATE)
        assert model.layouts["maps"] == "BCT"
        assert model.layouts["logits"] == "BC"
        assert model.layouts["sequence"] == "BTC"
        assert model.minimum_samples == 9
        assert list(model.layouts)[-1] == "logits"

    def test_names_are_those_of_the_onnx_package(self, exported: Path) -> None:
        expected = [name for node in onnx.load(exported).graph.node for name in node.output if name]
        assert list(tensor_names(exported.read_bytes())) == expected

    def test_weights_beside_the_file(self, exported: Path, tmp_path: Path) -> None:
        path = saved(
            onnx.load(exported), tmp_path / "big.onnx", save_as_external_data=True, location="big.bin", size_threshold=0
        )
        assert (tmp_path / "big.bin").stat().st_size > 0
        samples = noise(2, 100)
        given, expected = (OnnxModel(p, sample_rate=RATE).activations(samples, ["logits"]) for p in (path, exported))
        assert torch.equal(given["logits"], expected["logits"])


class TestInputs:
    kernel = np.ones((1, 1, 4), np.float32)

    @pytest.mark.parametrize(
        ("shape", "node"),
        [
            (["n", 1, "t"], onnx.helper.make_node("Identity", ["x"], ["y"])),
            (["n", "t", 1], onnx.helper.make_node("Transpose", ["x"], ["y"], perm=[0, 2, 1])),
            (["n", "t"], onnx.helper.make_node("Unsqueeze", ["x", "one"], ["y"])),
            ([1, "t"], onnx.helper.make_node("Unsqueeze", ["x", "one"], ["y"])),
            (["t"], onnx.helper.make_node("Unsqueeze", ["x", "two"], ["y"])),
        ],
    )
    def test_forms(self, tmp_path: Path, shape: list[Any], node: Any) -> None:
        convolved = onnx.helper.make_node("Conv", ["y", "k"], ["z"], strides=[4])
        constants = {"k": self.kernel, "one": np.array([1]), "two": np.array([0, 1])}
        model = OnnxModel(
            saved(graph([node, convolved], shape, ["z"], constants), tmp_path / "m.onnx"), sample_rate=RATE
        )
        assert model.layouts == {"y": "BCT", "z": "BCT"}
        samples = noise(3, 40)
        expected = samples.view(3, 1, 10, 4).sum(dim=3)
        torch.testing.assert_close(model.activations(samples, ["z"])["z"], expected)

    def test_a_length_that_is_fixed(self, tmp_path: Path) -> None:
        node = onnx.helper.make_node("ReduceMean", ["x"], ["y"], axes=[1], keepdims=1)
        model = OnnxModel(saved(graph([node], ["n", 50], ["y"], sample_rate="100"), tmp_path / "m.onnx"))
        assert (model.sample_rate, model.minimum_samples, model.layouts) == (100, 50, {"y": "BC"})
        samples = noise(4, 50)
        torch.testing.assert_close(model.activations(samples, ["y"])["y"], samples.mean(dim=1, keepdim=True))
        with pytest.raises(ModelError, match=r"takes sounds of exactly 50 samples \(0.500 s\), found 51"):
            model.activations(noise(1, 51), ["y"])

    def test_further_inputs_are_given_by_name(self, tmp_path: Path) -> None:
        model = graph([onnx.helper.make_node("Mul", ["x", "gain"], ["y"])], ["n", "t"], ["y"])
        model.graph.input.append(onnx.helper.make_tensor_value_info("gain", onnx.TensorProto.FLOAT, [1]))
        path = saved(model, tmp_path / "m.onnx")
        with pytest.raises(ModelError, match=r"m.onnx has the inputs x, gain, expected one for the sound"):
            OnnxModel(path, sample_rate=RATE)
        with pytest.raises(ModelError, match=r"m.onnx has no input 'gian'; did you mean 'gain'"):
            OnnxModel(path, sample_rate=RATE, constants={"gian": np.ones(1, np.float32)})
        louder = OnnxModel(path, sample_rate=RATE, constants={"gain": np.full(1, 3, np.float32)})
        samples = noise(2, 20)
        torch.testing.assert_close(louder.activations(samples, ["y"])["y"], 3 * samples)

    def test_tensors_that_are_no_layers_say_why(self, tmp_path: Path) -> None:
        make = onnx.helper.make_node
        nodes = [
            make("Shape", ["x"], ["shape"]),
            make("ReduceSum", ["x"], ["all"], keepdims=0),
            make("Abs", ["x"], ["y"]),
        ]
        model = OnnxModel(saved(graph(nodes, ["n", "t"], ["y"]), tmp_path / "m.onnx"), sample_rate=RATE)
        assert model.record["left_out_layers"] == {"shape": "it is tensor(int64)", "all": "it has no axis of sounds"}
        with pytest.raises(ModelError, match=r"model 'onnx:m' has no layer 'al'; known: 'y'"):
            model.activations(noise(1, 9), ["al"])


class TestBadInput:
    def test_the_rate_must_be_said_once(self, exported: Path, tmp_path: Path) -> None:
        with pytest.raises(
            ModelError, match=r"net.onnx does not say its sample rate: write 'onnx:.*sample_rate=16000'"
        ):
            load_model(f"onnx:{exported}")
        model = onnx.load(exported)
        onnx.helper.set_model_props(model, {"sample_rate": "1000"})
        path = saved(model, tmp_path / "said.onnx")
        assert load_model(f"onnx:{path}").sample_rate == RATE
        with pytest.raises(ModelError, match=r"two sample rates are named, 900 and 1000 Hz"):
            load_model(f"onnx:{path}?sample_rate=900")

    @pytest.mark.parametrize("content", [b"", b"not onnx at all", b"\x00" * 40, b"\xff" * 40, b"\x3a\x05abc"])
    def test_other_files(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "x.onnx"
        path.write_bytes(content)
        with pytest.raises(ModelError, match=r"x.onnx cannot be (read|loaded) as an ONNX file"):
            OnnxModel(path, sample_rate=RATE)

    def test_a_truncated_file(self, exported: Path, tmp_path: Path) -> None:
        path = tmp_path / "cut.onnx"
        path.write_bytes(exported.read_bytes()[:-200])
        with pytest.raises(ModelError, match=r"cut.onnx cannot be (read|loaded) as an ONNX file"):
            OnnxModel(path, sample_rate=RATE)

    def test_weights_outside_the_folder_are_not_read(self, tmp_path: Path) -> None:
        folder = tmp_path / "in"
        folder.mkdir()
        model = graph([onnx.helper.make_node("Mul", ["x", "w"], ["y"])], ["n", "t"], ["y"])
        weight = onnx.TensorProto(name="w", dims=[1], data_type=onnx.TensorProto.FLOAT)
        weight.data_location = onnx.TensorProto.EXTERNAL
        for place in (folder, tmp_path):
            (place / "w.bin").write_bytes(np.float32(7).tobytes())
        (folder / "link.bin").symlink_to(tmp_path / "w.bin")
        for location in ("w.bin", "../w.bin", str(tmp_path / "w.bin"), "link.bin"):
            del model.graph.initializer[:], weight.external_data[:]
            weight.external_data.add(key="location", value=location)
            model.graph.initializer.append(weight)
            path = saved(model, folder / "m.onnx")
            if location == "w.bin":
                assert list(OnnxModel(path, sample_rate=RATE).layouts) == ["y"]
                continue
            with pytest.raises(ModelError, match="cannot be loaded as an ONNX file"):
                OnnxModel(path, sample_rate=RATE)

    def test_names_that_are_no_text(self, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        path = saved(graph([onnx.helper.make_node("Abs", ["x"], ["y"])], ["nn", "tt"], ["y"]), tmp_path / "m.onnx")
        for name in (b"nn", b"Abs"):
            damaged = tmp_path / "damaged.onnx"
            damaged.write_bytes(path.read_bytes().replace(name, name[:-1] + b"\xcf"))
            with pytest.raises(ModelError, match=r"cannot be (read|loaded) as an ONNX file"):
                OnnxModel(damaged, sample_rate=RATE)
        assert capfd.readouterr().out == ""

    def test_a_missing_file_and_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match=r"no ONNX file .*nowhere.onnx"):
            load_model(f"onnx:{tmp_path}/nowhere.onnx?sample_rate=1")
        with pytest.raises(ModelError, match=r"which file\?"):
            load_model("onnx")

    def test_no_control_is_made_up(self, exported: Path) -> None:
        with pytest.raises(ModelError, match="does not say which of its tensors were learned, so there is no random"):
            load_model(f"onnx:{exported}?sample_rate=1000@random:0")
        with pytest.raises(ModelError, match="no weights to replace, so there is no permuted control"):
            load_model(f"onnx:{exported}?sample_rate=1000@permuted:0")

    def test_an_input_that_is_no_sound(self, tmp_path: Path) -> None:
        path = saved(graph([onnx.helper.make_node("Abs", ["x"], ["y"])], ["n", 3, 64, 64], ["y"]), tmp_path / "m.onnx")
        with pytest.raises(
            ModelError, match=r"the input 'x' is tensor\(float\) \['n', 3, 64, 64\], expected waveforms"
        ):
            OnnxModel(path, sample_rate=RATE)

    def test_a_missing_extra(self, exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        with pytest.raises(MissingExtraError, match=r"pip install 'brainalign\[onnx\]'"):
            load_model(f"onnx:{exported}?sample_rate=1000")
        importlib.import_module("brainalign.models.onnx")
