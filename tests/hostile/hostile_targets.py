"""Readers of outside data, each with small valid files; what a reader may answer is a value or a BrainalignError."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brainalign.errors import BrainalignError

RNG = np.random.default_rng(11)
SOUNDS = ("a", "b", "c", "d")


def nothing(_folder: Path) -> None:
    """Set up nothing beside the file."""


@dataclass(frozen=True)
class Target:
    """One reader.

    Attributes
    ----------
    name : str
        For counts.
    file : str
        Where in a folder the file lies that is changed.
    seeds : callable
        Makes valid files; gets an empty folder.
    read : callable
        Reads the folder.
    setup : callable
        Writes what else the folder holds.
    text : bool
        Whether the file is text.
    raises : bool
        Whether damage is an error; a cache lists it, and computes anew.
    """

    name: str
    file: str
    seeds: Callable[[Path], list[bytes]]
    read: Callable[[Path], Any]
    setup: Callable[[Path], None] = nothing
    text: bool = False
    raises: bool = True

    def prepare(self, folder: Path) -> list[bytes]:
        """Set a folder up, and return the valid files."""
        scratch = folder / "scratch"
        scratch.mkdir(parents=True)
        (folder / self.file).parent.mkdir(parents=True, exist_ok=True)
        self.setup(folder)
        return self.seeds(scratch)

    def accepts(self, folder: Path, content: bytes) -> bool:
        """Write a file and read it; say whether it was taken. Anything but a BrainalignError passes through."""
        (folder / self.file).write_bytes(content)
        try:
            with quiet():
                self.read(folder)
        except BrainalignError:
            return False
        return True


@contextmanager
def quiet() -> Iterator[None]:
    """Keep remarks on odd values off the screen; they are not what is tested here."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def text_of(*texts: str) -> Callable[[Path], list[bytes]]:
    return lambda _folder: [t.encode() for t in texts]


def sounds(folder: Path) -> None:
    from brainalign.stimuli.audio import write_audio

    for i in SOUNDS:
        path = folder / "audio" / f"{i}.wav"
        path.parent.mkdir(exist_ok=True)
        write_audio(path, np.sin(np.arange(400) / 7, dtype=np.float32) * 0.3, 8000)


MANIFEST = 'name = "tiny"\nversion = "1"\ncitation = "nobody"\nlicence = "CC0"\nsample_rate = 8000\ntarget_rms = 0.05\n'
TABLE = "stimulus_id,file,category,level\n" + "".join(f"{i},audio/{i}.wav,music,{k}.5\n" for k, i in enumerate(SOUNDS))
EVENTS = "onset\tduration\ttrial_type\n" + "".join(f"{3 * k}.0\t2.0\t{i}\n" for k, i in enumerate(SOUNDS))
RECIPE = """title = "t"
seed = 1
[stimuli]
set = "demo"
categories = ["music"]
[[models]]
name = "logmel"
layers = ["conv*"]
[brain]
name = "demo-components"
[[measures]]
name = "component-encoding"
n_permutations = 10
[[measures]]
name = "response-ratio"
categories = ["music"]
"""
TRAINING = """[training]
data = "clips"
condition = "all"
epochs = 2
seed = 0
"""


def with_manifest(folder: Path) -> None:
    sounds(folder)
    (folder / "stimulus_set.toml").write_text(MANIFEST)


def with_table(folder: Path) -> None:
    sounds(folder)
    (folder / "stimuli.csv").write_text(TABLE)


def read_set(folder: Path) -> None:
    from brainalign.stimuli.sets import read_stimulus_set

    found = read_stimulus_set(folder)
    found.waveform(found.ids[0])


def read_lab_table(folder: Path) -> None:
    from brainalign.stimuli.create import _rows_of_table

    _rows_of_table(folder / "audio", folder / "table.csv")


def read_recipe_file(folder: Path) -> None:
    from brainalign.recipes.schema import read_recipe

    read_recipe(folder / "recipe.toml")


def read_training(folder: Path) -> None:
    from brainalign.training.recipe import read_training_recipe

    read_training_recipe(folder / "training.toml")


def mat_files(_folder: Path) -> list[bytes]:
    from scipy.io import savemat

    from brainalign.brain.nh2015 import COMPONENTS

    def cells(names: list[str]) -> Any:
        return np.array(names, dtype=object)

    content = {
        "R": RNG.normal(size=(4, 6)),
        "W": RNG.normal(size=(6, 5)),
        "stim_names": cells(list(SOUNDS)),
        "component_names": cells(list(COMPONENTS)),
        "category_labels": cells(["music", "music", "speech", "speech"]),
    }
    found = []
    for packed in (False, True):
        stream = io.BytesIO()
        savemat(stream, content, do_compression=packed)
        found.append(stream.getvalue())
    stream = io.BytesIO()
    savemat(stream, {"stim_info": {"stim_names": cells(list(SOUNDS))}})
    return [*found, stream.getvalue()]


def read_components(folder: Path) -> None:
    from brainalign.brain.nh2015 import load_nh2015_components

    load_nh2015_components(folder / "components.mat")


def npy_files(_folder: Path) -> list[bytes]:
    found = []
    for array in (RNG.normal(size=(3, 4)), np.array([("a", 1.0)], dtype=[("name", "U8"), ("x", "f8")])):
        stream = io.BytesIO()
        np.save(stream, array)
        found.append(stream.getvalue())
    return found


def read_npy_file(folder: Path) -> None:
    from brainalign._reading import read_npy
    from brainalign.errors import BrainError

    read_npy(folder / "a.npy", BrainError)


def npz_files(_folder: Path) -> list[bytes]:
    found = []
    for save in (np.savez, np.savez_compressed):
        stream = io.BytesIO()
        save(
            stream, responses=RNG.normal(size=(4, 3)), stimulus=np.array(SOUNDS), unit_region=np.array(["x", "y", "z"])
        )
        found.append(stream.getvalue())
    return found


def read_brain_table(suffix: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        from brainalign.brain.table import load_table

        load_table(str(folder / f"table.{suffix}"))

    return read


def netcdf_files(folder: Path) -> list[bytes]:
    from brainalign.responses import make_responses, save_responses

    responses = make_responses(RNG.normal(size=(4, 3)), list(SOUNDS), unit_info={"region": ["x", "y", "z"]})
    return [save_responses(responses, folder / "r.nc").read_bytes()]


def rdm_files(folder: Path) -> list[bytes]:
    from brainalign.measures.rdm import make_rdms
    from brainalign.measures.rdm_io import save_rdms

    values = np.abs(RNG.normal(size=(2, 4, 4)))
    values += values.swapaxes(1, 2)
    values[:, range(4), range(4)] = 0
    rdms = make_rdms(values, list(SOUNDS), ["r1", "r2"])
    return [save_rdms(rdms, folder / f"r.{suffix}").read_bytes() for suffix in ("npz", "nc")]


def read_rdms(folder: Path) -> None:
    from brainalign.measures.rdm_io import load_rdms

    path = folder / "rdms.nc"
    if path.read_bytes()[:2] == b"PK":
        path = path.rename(folder / "rdms.npz")
    load_rdms(path)


def ecog_files(_folder: Path) -> list[bytes]:
    from brainalign.brain.tuckute2023 import _categories

    names = np.array([f"{n}.wav" for n in _categories()])
    n = len(names)
    stream = io.BytesIO()
    np.savez_compressed(
        stream, stim_names=names, category=np.ones(n), category_labels=np.array(["Music"]),
        components=RNG.normal(size=(n, 3, 2)), t=np.arange(3) / 25, weights=RNG.normal(size=(2, 4)),
        elec_ras=RNG.normal(size=(4, 3)), elec_subject=np.arange(4), elec_vert=np.arange(1, 5),
    )  # fmt: skip
    return [stream.getvalue()]


def read_ecog(folder: Path) -> None:
    from brainalign.brain.ecog165 import load_ecog165_components

    load_ecog165_components(folder / "ecog165.npz")


def pickles(_folder: Path) -> list[bytes]:
    import pickle

    table = pd.DataFrame({"n": [1, 2, 3], "x": [0.5, np.nan, 1.0], "name": np.array(["a", None, "c"], dtype=object)})
    return [pickle.dumps(table, protocol=p) for p in (2, 4, 5)]


def read_pickle(folder: Path) -> None:
    from brainalign.brain.restricted_pickle import read_pickled_table

    read_pickled_table(folder / "table.pkl")


def audio_files(folder: Path) -> list[bytes]:
    import soundfile

    samples = np.stack([np.sin(np.arange(600) / 9), np.cos(np.arange(600) / 5)], axis=1) * 0.3
    kinds = {"wav": "PCM_16", "flac": "PCM_24", "ogg": "VORBIS", "aiff": "PCM_16", "au": "FLOAT", "mp3": None}
    found = []
    for suffix, subtype in kinds.items():
        path = folder / f"s.{suffix}"
        soundfile.write(path, samples, 16000, subtype=subtype)
        found.append(path.read_bytes())
    return found


def read_sound(folder: Path) -> None:
    from brainalign.stimuli.audio import read_audio, resample
    from brainalign.stimuli.sound_measures import describe_file

    waveform, rate = read_audio(folder / "sound.wav")
    describe_file(folder / "sound.wav")
    resample(waveform, rate, 16000)


def read_events_file(folder: Path) -> None:
    from brainalign.brain.events import check_events, read_events

    check_events(read_events(folder / "events.tsv"), duration_s=60)


def bids(folder: Path) -> None:
    func = folder / "sub-01" / "func"
    func.mkdir(parents=True, exist_ok=True)
    (func / "sub-01_task-music_bold.nii.gz").write_bytes(b"not opened")
    (func / "sub-01_task-music_events.tsv").write_text(EVENTS)
    (func / "sub-01_task-music_bold.json").write_text('{"RepetitionTime": 2.0}')
    (folder / "dataset_description.json").write_text('{"Name": "tiny", "BIDSVersion": "1.9.0"}')
    (folder / "participants.tsv").write_text("participant_id\tage\nsub-01\t30\n")


def read_bids_folder(folder: Path) -> None:
    from brainalign.brain.bids_layout import participants, read_bids

    found = read_bids(folder)
    participants(folder)
    for runs in found.subjects.values():
        assert runs[0].repetition_time > 0


def nifti(shape: tuple[int, ...], suffix: str) -> Callable[[Path], list[bytes]]:
    def make(folder: Path) -> list[bytes]:
        import nibabel

        found = []
        for dtype in (np.float32, np.int16):
            path = folder / f"i{suffix}"
            nibabel.Nifti1Image((RNG.normal(size=shape) * 100).astype(dtype), np.eye(4)).to_filename(path)
            found.append(path.read_bytes())
        return found

    return make


def with_mask(folder: Path) -> None:
    import nibabel

    nibabel.Nifti1Image(np.ones((3, 4, 2), np.uint8), np.eye(4)).to_filename(folder / "mask.nii")


def read_nifti(suffix: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        from brainalign.brain.image_files import load_image
        from brainalign.brain.images import open_reader

        open_reader(folder / "mask.nii").read(folder / f"image{suffix}")
        load_image(folder / f"image{suffix}")

    return read


def gifti_files(_folder: Path) -> list[bytes]:
    import nibabel

    found = []
    for encoding in ("GIFTI_ENCODING_ASCII", "GIFTI_ENCODING_B64BIN", "GIFTI_ENCODING_B64GZ"):
        arrays = [
            nibabel.gifti.GiftiDataArray(RNG.normal(size=9).astype(np.float32), encoding=encoding) for _ in range(2)
        ]
        found.append(nibabel.GiftiImage(darrays=arrays).to_bytes())
    return found


def read_surface_file(name: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        from brainalign.brain.surface_files import read_surface

        read_surface(folder / name)

    return read


def mgh_files(suffix: str) -> Callable[[Path], list[bytes]]:
    def make(folder: Path) -> list[bytes]:
        import nibabel

        path = folder / f"m{suffix}"
        nibabel.MGHImage(RNG.normal(size=(9, 1, 1, 2)).astype(np.float32), np.eye(4)).to_filename(path)
        return [path.read_bytes()]

    return make


def morph_files(folder: Path) -> list[bytes]:
    from nibabel.freesurfer.io import write_morph_data

    write_morph_data(folder / "lh.thickness", RNG.normal(size=9).astype(np.float32))
    return [(folder / "lh.thickness").read_bytes()]


def annot_files(folder: Path) -> list[bytes]:
    from nibabel.freesurfer.io import write_annot

    colours = np.array([[1, 2, 3, 0, 0], [4, 5, 6, 0, 0]])
    write_annot(folder / "lh.a.annot", np.array([0, 1, 1, 0]), colours, ["one", "two"], fill_ctab=True)
    return [(folder / "lh.a.annot").read_bytes()]


def read_annotation(folder: Path) -> None:
    from brainalign.brain.surface_files import read_labels

    read_labels(folder / "lh.a.annot")


def read_label_file(folder: Path) -> None:
    from brainalign.brain.surface_files import read_vertex_mask

    read_vertex_mask(folder / "a.label", 100)


def cifti_files(folder: Path) -> list[bytes]:
    import nibabel
    from nibabel.cifti2 import BrainModelAxis, ScalarAxis

    model = BrainModelAxis.from_mask(np.ones(5, bool), "CortexLeft") + BrainModelAxis.from_mask(
        np.ones((2, 2, 1), bool), "ThalamusRight", affine=np.eye(4)
    )
    image = nibabel.Cifti2Image(RNG.normal(size=(2, 9)).astype(np.float32), header=(ScalarAxis(["a", "b"]), model))
    image.to_filename(folder / "c.dscalar.nii")
    return [(folder / "c.dscalar.nii").read_bytes()]


def read_cifti(folder: Path) -> None:
    from brainalign.brain.cifti import open_cifti_reader

    open_cifti_reader(folder / "c.dscalar.nii").read(folder / "c.dscalar.nii")


def weights(_folder: Path) -> list[bytes]:
    import torch
    from safetensors.torch import save

    tensors = {"weight": torch.ones(2, 3), "bias": torch.zeros(2)}
    return [save(tensors, metadata={"class_names": '["a", "b"]'})]


def read_weights(folder: Path) -> None:
    import torch

    from brainalign.models.hooked import load_weights
    from brainalign.models.kim2024 import _n_classes
    from brainalign.models.weights_files import read_class_names

    _n_classes(folder / "w.safetensors")
    load_weights(torch.nn.Linear(3, 2), folder / "w.safetensors")
    read_class_names(folder / "w.safetensors", 2)


def with_weights(folder: Path) -> None:
    (folder / "w.safetensors").write_bytes(weights(folder)[0])


def read_card(folder: Path) -> None:
    from brainalign.models.kim2024 import _card

    _card(folder / "w.safetensors", 2)


def checkpoints(_folder: Path) -> list[bytes]:
    import torch

    found = []
    for new in (True, False):
        stream = io.BytesIO()
        torch.save({"weight": torch.ones(2, 3), "bias": torch.zeros(2)}, stream, _use_new_zipfile_serialization=new)
        found.append(stream.getvalue())
    return found


def read_checkpoint(folder: Path) -> None:
    import torch

    from brainalign.models.torchaudio_bundles import _load

    _load(torch.nn.Linear(3, 2), folder / "w.pth", None)


def read_caption_table(folder: Path) -> None:
    from brainalign.models.captions import read_captions

    read_captions(folder / "captions.csv")


def read_labels_of_audioset(folder: Path) -> None:
    from brainalign.training.audioset import read_audioset

    read_audioset(folder, "leave-out")


def audioset(folder: Path) -> None:
    (folder / "class_labels_indices.csv").write_text(CLASSES)
    (folder / "balanced_train_segments.csv").write_text(SEGMENTS)


CLASSES = 'index,mid,display_name\n0,/m/1,"Music"\n1,/m/2,"Speech"\n'
SEGMENTS = "# one\n# two\n# three\n" + 'abc, 0.000, 10.000, "/m/1,/m/2"\n-0RWZ, 5.000, 15.000, "/m/2"\n'
ONTOLOGY = json.dumps(
    [{"id": "/m/1", "name": "Music", "child_ids": ["/m/2"]}, {"id": "/m/2", "name": "Song", "child_ids": []}]
)


def read_ontology_file(folder: Path) -> None:
    from brainalign.training.ontology import music_labels, read_ontology

    music_labels(read_ontology(folder / "ontology.json"))


def spreadsheets(_folder: Path) -> list[bytes]:
    space = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("xl/sharedStrings.xml", f"<sst {space}><si><t>Name: abc.wav</t></si></sst>")
        cell = '<row r="1"><c r="A1" t="s"><v>0</v></c></row>'
        archive.writestr("xl/worksheets/sheet1.xml", f"<worksheet {space}><sheetData>{cell}</sheetData></worksheet>")
    return [stream.getvalue()]


def read_list_of_clips(folder: Path) -> None:
    from brainalign.training.audioset import read_exclusions

    read_exclusions(folder / "clips.xlsx")


def read_corpus(folder: Path) -> None:
    from brainalign.training.corpus import read_folder

    read_folder(folder, missing_clips="leave-out").targets()


def read_region_names(folder: Path) -> None:
    from brainalign.brain.regions import region_names

    region_names(folder / "labels.tsv", np.array([0, 1, 2]))


def images(folder: Path) -> None:
    with_mask(folder)
    for i in SOUNDS:
        (folder / f"{i}.nii").write_bytes(nifti((3, 4, 2), ".nii")(folder / "scratch")[0])


def read_images_table(folder: Path) -> None:
    from brainalign.brain.from_images import load_images

    load_images(str(folder / "images.csv"), mask=str(folder / "mask.nii"))


def cache(folder: Path) -> None:
    from brainalign.models.cache import open_entry

    identity = {"model": "m", "pooling": "mean", "n_sounds": 2}
    with open_entry(folder / "cache", identity, "tiny", {"layer": "BC"}) as arrays:
        assert arrays is not None
        arrays["layer"].write(np.arange(2), np.ones((2, 1, 3), np.float32))
    entry = next((folder / "cache").glob("*/entry.json")).parent
    entry.rename(folder / "cache" / "key")


def cache_file(pattern: str) -> Callable[[Path], list[bytes]]:
    def make(folder: Path) -> list[bytes]:
        cache(folder)
        files = [p for p in (folder / "cache" / "key").glob(pattern) if (pattern != "*.json") or p.name != "entry.json"]
        return [files[0].read_bytes()]

    return make


def layer_path() -> str:
    from brainalign.models._arrays import LayerArray

    return LayerArray(Path("cache/key"), "layer", "BC", 2).path.with_suffix(".json").as_posix()


def read_cache(folder: Path) -> None:
    from brainalign.models.cache import list_entries, verify

    list_entries(folder / "cache")
    verify(folder / "cache")


def index(folder: Path) -> None:
    from brainalign._files import sha256

    np.save(folder / "embeddings.npy", np.eye(4, 3, dtype=np.float32))
    (folder / "tracks.csv").write_text(TABLE)
    record: dict[str, Any] = {"model": "m", "model_record": {}, "layer": "l", "pooling": "mean"}
    record |= {f"{f}_sha256": sha256(folder / f) for f in ("embeddings.npy", "tracks.csv")}
    (folder / "index.json").write_text(json.dumps(record))


def index_file(name: str) -> Callable[[Path], list[bytes]]:
    def make(folder: Path) -> list[bytes]:
        index(folder)
        return [(folder / name).read_bytes()]

    return make


def read_index(folder: Path) -> None:
    from brainalign.reconstruction.index import open_index

    open_index(folder)


def onnx_files(_folder: Path) -> list[bytes]:
    from onnx import TensorProto, helper

    weight = helper.make_tensor("w", TensorProto.FLOAT, [1], [2.0])
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", "t"]) for name in "xy"]
    nodes = [helper.make_node("Mul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(model, {"sample_rate": "800"})
    return [model.SerializeToString()]


def read_onnx(folder: Path) -> None:
    from brainalign.models.onnx import load_onnx

    load_onnx(str(folder / "net.onnx"))


CONFOUNDS = "rot_x\tframewise_displacement\n" + "".join(
    f"{x:.3f}\t{'n/a' if not k else abs(x):.4}\n" for k, x in enumerate(np.linspace(-1, 1, 12))
)  # fmt: skip


def bold(folder: Path) -> None:
    import nibabel as nib

    values = np.random.default_rng(0).normal(100, 1, (2, 2, 2, 12)).astype(np.float32)
    image = nib.nifti1.Nifti1Image(values, np.eye(4))
    image.header.set_zooms((1, 1, 1, 2))
    nib.loadsave.save(image, folder / "bold.nii")
    nib.loadsave.save(nib.nifti1.Nifti1Image(np.ones((2, 2, 2), np.uint8), np.eye(4)), folder / "mask.nii")


def read_confounds(folder: Path) -> None:
    from brainalign.brain.bids_layout import BoldRun
    from brainalign.brain.estimation import Design, estimate_run
    from brainalign.brain.images import open_reader

    run = BoldRun("sub-01", {}, (folder / "bold.nii",), {"RepetitionTime": 2.0}, confounds=folder / "confounds.tsv")
    events = pd.DataFrame({"onset": [4.0, 12.0], "duration": [2.0, 2.0], "stimulus_id": ["a", "b"]})
    design = Design(kind="glm", confounds=("rot_x", "framewise_displacement"), confounds_na="zero", noise_model="ols")
    estimate_run(run, events, open_reader(folder / "mask.nii"), design)


RESULTS = (
    "measure,model,layer,brain,target,statistic,value,ci_low,ci_high,p,effect_size,n,n_of,note\n"
    "rsa,m,l,b,t,rho,0.5,0.1,0.9,0.01,,4,stimuli,\n"
)
PROVENANCE = json.dumps(
    {"format": 1, "recipe": {"title": "t"}, "seed": 0, "versions": {"brainalign": "0.1.0"}, "stimuli": {}, "models": [],
     "results": [{"measure": "rsa", "kind": "rsa", "settings": {}, "warnings": [], "arrays": None}]}
)  # fmt: skip


def results(folder: Path) -> None:
    (folder / "results.csv").write_text(RESULTS)
    (folder / "provenance.json").write_text(PROVENANCE)


def read_results(folder: Path) -> None:
    from brainalign.report.saved import load_run

    run = load_run(folder)
    assert run.title is not None
    assert run.results is not None


TARGETS = [
    Target("stimuli.csv", "stimuli.csv", text_of(TABLE), read_set, with_manifest, True),
    Target("stimulus_set.toml", "stimulus_set.toml", text_of(MANIFEST), read_set, with_table, True),
    Target("lab table", "table.csv", text_of("file,category\n" + "".join(f"{i}.wav,x\n" for i in SOUNDS)),
           read_lab_table, sounds, True),
    Target("recipe", "recipe.toml", text_of(RECIPE), read_recipe_file, text=True),
    Target("training recipe", "training.toml", text_of(TRAINING), read_training, text=True),
    Target("mat", "components.mat", mat_files, read_components),
    Target("npy", "a.npy", npy_files, read_npy_file),
    Target("npz responses", "table.npz", npz_files, read_brain_table("npz")),
    Target("csv responses", "table.csv", text_of("stimulus_id,u1,u2\na,1,2\nb,3,5\nc,0.5,1e3\n"),
           read_brain_table("csv"), text=True),
    Target("netCDF responses", "table.nc", netcdf_files, read_brain_table("nc")),
    Target("RDMs", "rdms.nc", rdm_files, read_rdms),
    Target("ecog165", "ecog165.npz", ecog_files, read_ecog),
    Target("pickled table", "table.pkl", pickles, read_pickle),
    Target("sounds", "sound.wav", audio_files, read_sound),
    Target("events.tsv", "events.tsv", text_of(EVENTS), read_events_file, text=True),
    Target("BIDS sidecar", "sub-01/func/sub-01_task-music_bold.json", text_of('{"RepetitionTime": 2.0, "a": [1, {}]}'),
           read_bids_folder, bids, True),
    Target("participants.tsv", "participants.tsv", text_of("participant_id\tage\nsub-01\t30\n"), read_bids_folder, bids,
           True),
    Target("nii", "image.nii", nifti((3, 4, 2, 3), ".nii"), read_nifti(".nii"), with_mask),
    Target("nii.gz", "image.nii.gz", nifti((3, 4, 2, 3), ".nii.gz"), read_nifti(".nii.gz"), with_mask),
    Target("gii", "a.func.gii", gifti_files, read_surface_file("a.func.gii")),
    Target("mgh", "a.mgh", mgh_files(".mgh"), read_surface_file("a.mgh")),
    Target("mgz", "a.mgz", mgh_files(".mgz"), read_surface_file("a.mgz")),
    Target("morphometry", "lh.thickness", morph_files, read_surface_file("lh.thickness")),
    Target("annot", "lh.a.annot", annot_files, read_annotation),
    Target("label", "a.label", text_of("#!ascii label\n2\n3  -1.0 2.0 3.0 0.5\n7  1.0 2.0 3.0 0.25\n"), read_label_file,
           text=True),
    Target("CIFTI", "c.dscalar.nii", cifti_files, read_cifti),
    Target("safetensors", "w.safetensors", weights, read_weights),
    Target("card", "w.json", text_of('{"labels": ["a", "b"], "licence": "CC0", "n": [1.5, {"x": null}]}'), read_card,
           with_weights, True),
    Target("pth", "w.pth", checkpoints, read_checkpoint),
    Target("captions", "captions.csv", text_of("stimulus_id,caption\na,a dog\nb,\"a cat, loud\"\n"), read_caption_table,
           text=True),
    Target("class labels", "class_labels_indices.csv", text_of(CLASSES), read_labels_of_audioset, audioset, True),
    Target("segments", "balanced_train_segments.csv", text_of(SEGMENTS), read_labels_of_audioset, audioset, True),
    Target("ontology", "ontology.json", text_of(ONTOLOGY), read_ontology_file, text=True),
    Target("list of clips", "clips.xlsx", spreadsheets, read_list_of_clips),
    Target("metadata.csv", "metadata.csv", text_of("file,labels,split\na.wav,x|y,train\nb.wav,y,test\n"), read_corpus,
           text=True),
    Target("region names", "labels.tsv", text_of("index\tname\n1\tone\n2\ttwo\n"), read_region_names, text=True),
    Target("table of images", "images.csv", text_of("stimulus_id,file\n" + "".join(f"{i},{i}.nii\n" for i in SOUNDS)),
           read_images_table, images, True),
    Target("cache entry", "cache/key/entry.json", cache_file("entry.json"), read_cache, cache, True, False),
    Target("cache layer", layer_path(), cache_file("*.json"), read_cache, cache, True, False),
    Target("index.json", "index.json", index_file("index.json"), read_index, index, True),
    Target("tracks.csv", "tracks.csv", index_file("tracks.csv"), read_index, index, True),
    Target("embeddings.npy", "embeddings.npy", index_file("embeddings.npy"), read_index, index),
    Target("onnx", "net.onnx", onnx_files, read_onnx),
    Target("confounds", "confounds.tsv", text_of(CONFOUNDS), read_confounds, bold, True),
    Target("results.csv", "results.csv", text_of(RESULTS), read_results, results, True),
    Target("provenance.json", "provenance.json", text_of(PROVENANCE), read_results, results, True),
]  # fmt: skip
