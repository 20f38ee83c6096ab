"""Training of the network of Kim et al. 2024."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from brainalign._files import remove_leftovers, sha256, write_then_rename
from brainalign._reading import check_zip
from brainalign.errors import MissingExtraError, ModelError, RecipeError, ResultsError, StimulusError, name_some
from brainalign.models.hooked import load_weights
from brainalign.models.kim2024 import Kim2024CNN
from brainalign.training.audioset import SEGMENTS, is_audioset, read_audioset, read_exclusions
from brainalign.training.batches import Batches
from brainalign.training.conditions import apply_condition, excluded_labels
from brainalign.training.corpus import Corpus, read_folder, split_off_validation
from brainalign.training.curves import save_learning_curves
from brainalign.training.features import LogMels, log_mels
from brainalign.training.ontology import read_ontology
from brainalign.training.recipe import TrainingRecipe, find, make_training_recipe, read_training_recipe
from brainalign.training.scores import mean_average_precision, micro_average_precision

SHIPPED_LABEL_MAPS = {"minisounds": Path(__file__).with_name("minisounds_labels.csv")}
#: What is in the folder of a training only while it is not finished.
UNFINISHED = ("best.safetensors", "last.ckpt")


@dataclass(frozen=True)
class TrainedNetwork:
    """What a training run leaves.

    Attributes
    ----------
    weights : Path
        A safetensors file in half precision; ``load_model(f"kim2024-cnn:{weights}")`` listens with it.
    card : dict
        What is known about the network; lies beside the weights as JSON.
    """

    weights: Path
    card: dict[str, Any]


def train(
    recipe: TrainingRecipe | Path | str | None = None,
    out: Path | str = "trained",
    *,
    progress: bool = False,
    **changes: Any,
) -> TrainedNetwork:
    """Train a network, or go on with a training that was interrupted.

    Parameters
    ----------
    recipe : TrainingRecipe, Path or str, optional
        What to train; a file or a recipe.
    out : Path or str
        A folder for the result. If it holds an interrupted run of the same training, that is resumed after its last
        whole epoch, and gives what the unbroken run would have given (on the same machine with as many threads).
    progress : bool
        Show progress bars.
    **changes
        Entries of the recipe that replace those of the file, for example ``seed=1``; the whole recipe, if there is
        none.

    Returns
    -------
    TrainedNetwork
        Written into `out`: ``weights.safetensors``, ``weights.json``, ``log.csv`` and ``learning-curves.png``. Epochs
        are counted from 1 in all of them.

    Raises
    ------
    RecipeError
        If the recipe is not well formed or a file of it is not there.
    StimulusError
        If clips or labels cannot be used; all unreadable clips are reported before training starts.
    ResultsError
        If `out` holds another or a finished training, another process trains into it, or the disk is full.
    MissingExtraError
        If lightning is not installed.
    """
    try:
        import lightning  # noqa: F401
    except ImportError as why:
        raise MissingExtraError("lightning", "train") from why
    beside, recipe = _recipe(recipe, changes)
    if is_audioset(find("data", recipe.data, beside)):
        recipe = recipe.model_copy(update={"label_map": None})
    folder = Path(out)
    _refuse_finished(folder)
    corpus, features, removed = prepare(recipe, beside, progress=progress)
    with _alone(folder):
        _claim(folder, {**recipe.what(), "sounds_sha256": features.digest, "clips_sha256": corpus.digest()})
        trainer = _fit(recipe, corpus, features, folder, progress)
        if trainer.is_global_zero:
            _finish(recipe, corpus, features, removed, folder)
        trainer.strategy.barrier()  # the other devices' processes go on when the card is there
    card = json.loads((folder / "weights.json").read_text(encoding="utf-8"))
    return TrainedNetwork(folder / "weights.safetensors", card)


def prepare(recipe: TrainingRecipe, beside: Path, *, progress: bool = False) -> tuple[Corpus, LogMels, np.ndarray]:
    """Read what a recipe trains on.

    Parameters
    ----------
    recipe : TrainingRecipe
        The recipe.
    beside : Path
        Its folder, for relative paths.
    progress : bool
        Show progress bars.

    Returns
    -------
    corpus : Corpus
        The clips that the condition leaves, and all test clips.
    features : LogMels
        Their spectrograms, row by row; computed over the whole corpus, so that all conditions share one level.
    removed : ndarray of bool, shape (n_classes,)
        Which labels the condition excludes.

    Raises
    ------
    RecipeError
        If a file of the recipe is not there.
    StimulusError
        If clips or labels cannot be used.
    """
    ontology = read_ontology(find("ontology", recipe.ontology, beside))
    whole = split_off_validation(_read(recipe, beside))
    by_hand = _removed_by_hand(recipe, beside, whole)
    corpus = apply_condition(whole, recipe.condition, ontology, seed=recipe.seed, by_hand=by_hand)
    features = log_mels(
        list(whole.clips["file"]),
        mean_rms=recipe.mean_rms,
        cache=None if recipe.cache is None else Path(recipe.cache).expanduser(),
        workers=recipe.workers,
        progress=progress,
    )
    excluded = excluded_labels(recipe.condition, ontology)
    last = len(corpus.of("train")) % recipe.batch_size
    if last and last // recipe.n_devices < 2:
        raise RecipeError(
            f"the last batch would hold {last} of {len(corpus.of('train'))} training clips, too few for batch "
            f"normalisation on {recipe.n_devices} device{'s' * (recipe.n_devices > 1)}; choose another batch_size"
        )
    kept = whole.clips.index.get_indexer(corpus.clips.index)
    return corpus, features.rows(kept), np.array([label in excluded for label in corpus.classes])


def _read(recipe: TrainingRecipe, beside: Path) -> Corpus:
    folder = find("data", recipe.data, beside)
    if is_audioset(folder):
        return read_audioset(folder, recipe.missing_clips)
    if not (folder / "metadata.csv").is_file():
        raise StimulusError(
            f"data: {folder} holds neither metadata.csv nor {SEGMENTS['train']}; docs/training.md shows both layouts"
        )
    label_map = None
    if recipe.label_map is not None:
        label_map = SHIPPED_LABEL_MAPS.get(recipe.label_map) or find("label_map", recipe.label_map, beside)
    corpus = read_folder(folder, label_map, recipe.missing_clips)
    if corpus.unmapped:
        named = name_some([f"{label!r} ({n} clip{'s' * (n > 1)})" for label, n in corpus.unmapped.items()], 10)
        warnings.warn(
            f"labels of {folder / 'metadata.csv'} that are not in the label map {label_map} are not learnt: {named}; "
            f"mend or add them if that is not meant",
            stacklevel=4,
        )
    return corpus


def _removed_by_hand(recipe: TrainingRecipe, beside: Path, corpus: Corpus) -> tuple[str, ...]:
    if recipe.exclude is None:
        return ()
    path = find("exclude", recipe.exclude, beside)
    names = read_exclusions(path)
    if not corpus.clips.index.isin(names).any():
        raise StimulusError(
            f"none of the {len(names)} clips in {path} is in {corpus.name!r}: {names[0]!r} there, "
            f"{corpus.clips.index[0]!r} here"
        )
    return names


def _recipe(recipe: TrainingRecipe | Path | str | None, changes: dict[str, Any]) -> tuple[Path, TrainingRecipe]:
    if isinstance(recipe, TrainingRecipe):
        return Path.cwd(), make_training_recipe({**recipe.model_dump(), **changes})
    if recipe is None:
        return Path.cwd(), make_training_recipe(changes)
    path = Path(recipe)
    return path.parent, read_training_recipe(path, **changes)


def _refuse_finished(folder: Path) -> None:
    if (folder / "weights.json").exists():
        _remove_unfinished(folder)
        raise ResultsError(f"{folder} holds a finished training; choose another folder")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other processes from training into the same folder; those of further devices belong to the first one."""
    from filelock import FileLock, Timeout
    from lightning.fabric.utilities.rank_zero import rank_zero_only

    if getattr(rank_zero_only, "rank", 0):
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as why:
        raise ResultsError(
            f"another process trains into {folder}; wait until it has ended, or choose another folder"
        ) from why
    try:
        remove_leftovers(folder)
        _refuse_finished(folder)
        yield
    finally:
        with suppress(OSError):  # Windows removes no open file
            (folder / ".lock").unlink()
        lock.release()


def _claim(folder: Path, what: dict[str, Any]) -> None:
    """Note what is trained in this folder, or check that it is this."""
    note = folder / "training.json"
    if note.is_file():
        try:
            before = dict(json.loads(note.read_text(encoding="utf-8")))
        except (ValueError, TypeError, RecursionError) as why:
            raise ResultsError(f"{note} is damaged: {why}; choose another folder") from why
        differ = sorted(key for key in {*before, *what} if before.get(key) != what.get(key))
        if differ:
            key = differ[0]
            raise ResultsError(
                f"{folder} holds another training: {key} is {before.get(key)!r} there and {what.get(key)!r} here; "
                f"choose another folder"
            )
        return
    with write_then_rename(note) as temporary:
        temporary.write_text(json.dumps(what, indent=2), encoding="utf-8")


def _fit(recipe: TrainingRecipe, corpus: Corpus, features: LogMels, folder: Path, progress: bool) -> Any:
    """Train, and return Lightning's trainer."""
    import lightning

    from brainalign.training.module import Checkpoints, Keep, Material, Progress, Training

    material = Material(features, corpus.targets(), corpus.of("train"), corpus.of("val"))
    checkpoint = folder / "last.ckpt"
    with torch.random.fork_rng(), _quiet():
        torch.manual_seed(recipe.seed)
        network = Kim2024CNN(len(corpus.classes))
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        training = Training(network, material, epochs=recipe.epochs, batch_size=recipe.batch_size, seed=recipe.seed)
        trainer = lightning.Trainer(
            max_epochs=recipe.epochs,
            accelerator=recipe.device,
            devices=recipe.n_devices,
            precision=recipe.precision,
            callbacks=[Keep(folder, recipe.keep or "best"), *([Progress()] if progress else [])],
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,  # ours writes lines in a log
            num_sanity_val_steps=0,
            reload_dataloaders_every_n_epochs=1,
            use_distributed_sampler=False,
            default_root_dir=folder,
            plugins=[Checkpoints()],
        )
        if checkpoint.is_file():
            _check(checkpoint, network)
        trainer.fit(training, ckpt_path=checkpoint if checkpoint.is_file() else None, weights_only=True)
    done = len(training.history.rows)
    if done < recipe.epochs:
        raise ResultsError(f"interrupted after {done} of {recipe.epochs} epochs; start it again to go on from {folder}")
    return trainer


def _check(checkpoint: Path, network: Kim2024CNN) -> None:
    """Check that a checkpoint is whole and of this network, before Lightning takes it."""
    try:
        check_zip(checkpoint, ResultsError)
        state = dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"])
    except Exception as why:  # torch raises a dozen kinds on damaged files
        raise ResultsError(f"{checkpoint} is damaged ({type(why).__name__}); delete it to begin anew") from why
    own = {f"network.{name}": tensor.shape for name, tensor in network.state_dict().items()}
    found = {name: tensor.shape for name, tensor in state.items()}
    differ = sorted(name for name in {*own, *found} if own.get(name) != found.get(name))
    if differ:
        raise ModelError(
            f"{checkpoint} is a checkpoint of another architecture: {name_some(differ)}; choose another folder"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's remarks about hardware and its own deprecations off the screen; warnings that matter stay."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\.pytorch\.utilities\._pytree")
            yield
    finally:
        logger.setLevel(level)


def _finish(recipe: TrainingRecipe, corpus: Corpus, features: LogMels, removed: np.ndarray, folder: Path) -> None:
    """Round to half precision, score what was rounded, and write weights, card and figure."""
    import pandas as pd
    from safetensors.torch import load_file, save_file

    best = folder / "best.safetensors"
    weights = folder / "weights.safetensors"
    # The front end is fixed and stays in single precision: rounding would change the spectrogram.
    state = {
        name: tensor.half() if tensor.is_floating_point() and not name.startswith("logmel.") else tensor
        for name, tensor in load_file(best).items()
    }
    if not all(torch.isfinite(tensor).all() for tensor in state.values()):
        raise ModelError(f"{best} holds weights that are not finite in half precision")
    with write_then_rename(weights) as temporary:
        save_file(state, temporary)
    with torch.random.fork_rng():
        network = Kim2024CNN(len(corpus.classes))
    load_weights(network, weights)
    log = pd.read_csv(folder / "log.csv")
    kept_epoch = 1 + (int(log["val_ap"].to_numpy().argmax()) if recipe.keep == "best" else len(log) - 1)
    name = f"{recipe.condition}/{recipe.seed}"
    save_learning_curves(log, folder / "learning-curves.png", f"kim2024-cnn:{name}", kept_epoch)
    card = {
        "model": "kim2024-cnn",
        "name": name,
        "condition": recipe.condition,
        "seed": recipe.seed,
        "licence": recipe.licence,
        "data": {
            "name": corpus.name,
            "sha256": features.digest,
            "n_clips": {split: len(corpus.of(split)) for split in ("train", "val", "test")},
            "left_out": dict(corpus.left_out),
            "unmapped_labels": dict(corpus.unmapped),
            "mean_rms": features.mean_rms * features.gain,
            "gain": features.gain,
        },
        "training": {
            **recipe.what(),
            "kept_epoch": kept_epoch,
            "seconds_per_epoch": float(log["seconds"].median()),
        },
        "scores": scores(network, corpus, features, removed),
        "labels": list(corpus.classes),
        "weights_sha256": sha256(weights),
        "versions": {name: version(name) for name in ("brainalign", "torch", "torchaudio", "lightning", "numpy")},
    }
    with write_then_rename(folder / "weights.json") as temporary:
        temporary.write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    _remove_unfinished(folder)


def _remove_unfinished(folder: Path) -> None:
    for name in UNFINISHED:
        (folder / name).unlink(missing_ok=True)


def scores(network: Kim2024CNN, corpus: Corpus, features: LogMels, removed: np.ndarray) -> dict[str, Any]:
    """Score a network on the clips of a corpus.

    Parameters
    ----------
    network : Kim2024CNN
        What listens; put into evaluation mode.
    corpus : Corpus
        The clips.
    features : LogMels
        Their spectrograms, row by row.
    removed : ndarray of bool, shape (n_classes,)
        Labels that the network was kept from.

    Returns
    -------
    dict
        ``train_ap`` and ``val_ap``, average precision over all pairs of clip and label; ``test`` and
        ``test_removed``, mean average precision with its chance level over the labels that the network could learn
        and those that it was kept from; what a corpus does not have is left out.
    """
    network.eval()
    targets = corpus.targets()

    def outputs(rows: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            batches = Batches(features.values, features.n_frames, targets, rows, 32)
            return torch.cat([network.classify(spectrograms) for spectrograms, _ in batches]).numpy()

    result: dict[str, Any] = {}
    for split in ("train", "val"):
        rows = corpus.of(split)
        result[f"{split}_ap"] = micro_average_precision(targets[rows], outputs(rows))
        result[f"{split}_chance"] = float(targets[rows].mean())
    test = corpus.of("test")
    if len(test):
        logits = outputs(test)
        learnt = targets[corpus.of("train")].any(axis=0)
        result["test"] = mean_average_precision(targets[test], logits, learnt & ~removed)
        result["test_removed"] = mean_average_precision(targets[test], logits, removed)
    return result
