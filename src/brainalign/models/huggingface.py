"""Audio models of Hugging Face's transformers, from the local cache or a local folder; nothing is downloaded.

One table says what differs between the families; what each wants of its input stands in ``hf_speech``,
``hf_spectrogram`` and ``hf_codecs``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from brainalign.errors import ModelError, did_you_mean, name_some
from brainalign.models.hooked import weights_digest
from brainalign.models.prepared import MONO_RULE, Arrange, PreparedModel

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Parts:
    """What an adapter says of a network: see the attributes of the same names of PreparedModel."""

    sample_rate: int
    layouts: Mapping[str, str]
    forward: Callable[[nn.Module, Tensor], Any]
    record: Mapping[str, str]
    valid_frames: Mapping[str, Callable[[int], int]] = field(default_factory=dict)
    arrange: Mapping[str, Arrange] = field(default_factory=dict)
    minimum_samples: int = 1
    maximum_samples: int | None = None
    in_pieces: bool = False


@dataclass(frozen=True)
class Family:
    """How the models of one type are built and adapted.

    Attributes
    ----------
    adapt : str
        The function, as ``module:function`` within this package: takes the network and its feature extractor, if it
        has one, and gives its `Parts`.
    extractor : str
        The class of its feature extractor; empty if it takes waveforms.
    model : str
        The class of the network; the one that transformers chooses if empty.
    part : str
        The submodule that listens; the whole network if empty.
    after_draw : str
        A function that completes a network with fresh weights, as `adapt`; none if empty.
    """

    adapt: str
    extractor: str = ""
    model: str = "AutoModel"
    part: str = ""
    after_draw: str = ""


_SPEECH = Family("hf_speech:speech_encoder", "Wav2Vec2FeatureExtractor")
FAMILIES = {
    "audio-spectrogram-transformer": Family("hf_spectrogram:spectrogram_transformer", "ASTFeatureExtractor"),
    "clap": Family("hf_spectrogram:clap_audio", "ClapFeatureExtractor"),
    "dac": Family("hf_codecs:dac"),
    "data2vec-audio": _SPEECH,
    "encodec": Family("hf_codecs:encodec"),
    "hubert": _SPEECH,
    "mert_model": _SPEECH,
    "musicgen": Family(
        "hf_codecs:musicgen", model="MusicgenForConditionalGeneration", after_draw="hf_codecs:draw_codebooks"
    ),
    "unispeech": _SPEECH,
    "unispeech-sat": _SPEECH,
    "wav2vec2": _SPEECH,
    "wav2vec2-bert": Family("hf_speech:w2v_bert", "SeamlessM4TFeatureExtractor"),
    "wav2vec2-conformer": _SPEECH,
    "wavlm": _SPEECH,
    "whisper": Family("hf_spectrogram:whisper_encoder", "WhisperFeatureExtractor", part="encoder"),
}
#: Where the standard configuration of transformers does not fit together: MusicGen's codec, EnCodec at 32 kHz.
_STANDARD: dict[str, dict[str, Any]] = {
    "musicgen": {
        "audio_encoder": {
            "model_type": "encodec",
            "sampling_rate": 32_000,
            "target_bandwidths": [2.2],
            "upsampling_ratios": [8, 5, 4, 4],
            "codebook_size": 2048,
            "num_filters": 64,
            "use_causal_conv": False,
            "use_conv_shortcut": False,
        },
        "text_encoder": {"model_type": "t5"},
        "decoder": {"model_type": "musicgen_decoder"},
    }
}
#: The end of a variant by which the user says that code that comes with a model may run.
TRUST = ":trust-remote-code"


def load_huggingface(variant: str = "", *, pretrained: bool = True, trust_remote_code: bool = False) -> PreparedModel:
    """Load an audio model of transformers.

    Parameters
    ----------
    variant : str
        A repository whose files are in the local cache (``"MIT/ast-finetuned-audioset-10-10-0.4593"``), or a local
        folder that holds them. For random weights also a model type, such as ``"wav2vec2"``, with the standard
        configuration of transformers. Ending it by ``":trust-remote-code"`` is the same as `trust_remote_code`.
    pretrained : bool
        False for the architecture alone, whose weights a control then draws.
    trust_remote_code : bool
        Let code that comes with the model run on this machine, as some models (MERT) ask for.

    Returns
    -------
    PreparedModel
        Layers have the names of the submodules. The record says what the model is given and what its layers mean.

    Raises
    ------
    ModelError
        If transformers is not installed, the files are not there, the model is of no known type, or code of its own
        would have to run.
    """
    try:
        import transformers
    except ImportError as why:
        raise ModelError("models of Hugging Face need transformers: pip install 'brainalign[hf]'") from why
    source = variant.removesuffix(TRUST)
    files = ModelFiles(source, trust_remote_code or variant != source)
    if not source:
        raise ModelError("which model? give a repository, 'hf:OWNER/NAME', or a local folder, 'hf:/PATH/TO/FOLDER'")
    standard = source in FAMILIES and not Path(source).is_dir()
    if standard and pretrained:
        raise ModelError(
            f"{source!r} is a type of model and names no weights; give a repository or a folder, 'hf:OWNER/NAME', or "
            f"draw random weights, 'hf:{source}@random:0'"
        )
    config = _standard_config(source) if standard else files.read("AutoConfig")
    family = FAMILIES.get(config.model_type)
    if family is None:
        raise ModelError(
            f"'hf:{source}' is of the type {config.model_type!r}, which has no adapter; "
            f"{did_you_mean(config.model_type, FAMILIES)}; or wrap it yourself, 'python:MODULE:ATTRIBUTE'"
        )

    def draw() -> nn.Module:
        network: nn.Module = _part(files.build(family, config), family)
        if family.after_draw:
            _function(family.after_draw)(network)
        return network

    if pretrained:
        network = _part(files.load_weights(family), family)
    else:
        with torch.random.fork_rng(devices=[]):
            network = draw()
    network.eval()
    extractor = None
    if family.extractor:
        extractor = _standard_extractor(family, config) if standard else files.read("AutoFeatureExtractor")
    parts: Parts = _function(family.adapt)(network, extractor)
    record = {"mono_rule": MONO_RULE, **parts.record, "transformers": transformers.__version__}
    if pretrained:
        record |= {"weights_sha256": weights_digest(network)}
    fields = {name: value for name, value in vars(parts).items() if name != "record"}
    return PreparedModel(name=f"hf:{source}", module=network, record=record, untrained=draw, **fields)


@dataclass(frozen=True)
class ModelFiles:
    """The files of a model, read offline.

    Attributes
    ----------
    source : str
        A repository whose files are in the local cache, or a folder.
    trusted : bool
        Code that comes with the model may run.
    """

    source: str
    trusted: bool

    def read(self, reader: str, **options: Any) -> Any:
        """Read by the class `reader` of transformers; what cannot be read is a ModelError that says what to do."""
        import transformers

        options |= {"local_files_only": True, "trust_remote_code": self.trusted}
        try:
            return getattr(transformers, reader).from_pretrained(self.source, **options)
        except (OSError, ValueError, RuntimeError, ImportError) as why:
            if not self.trusted and "trust_remote_code" in str(why):
                raise ModelError(
                    f"'hf:{self.source}' comes with code of its own, which would run on this machine; read it, and if "
                    f"you trust it say so: 'hf:{self.source}{TRUST}', or trust_remote_code=True in Python"
                ) from why
            raise ModelError(self._missing(reader, str(why))) from why

    def load_weights(self, family: Family) -> Any:
        """Load the network in single precision; tensors that the files lack would be random."""
        network, info = self.read(family.model, dtype=torch.float32, output_loading_info=True)
        missing = sorted(k for k in info["missing_keys"] if not k.endswith("masked_spec_embed"))
        if missing:
            raise ModelError(
                f"the weights of 'hf:{self.source}' are of another architecture: {name_some(missing, 4)} missing"
            )
        return network

    def build(self, family: Family, config: Any) -> Any:
        """Build the network with fresh weights."""
        import transformers

        builder = getattr(transformers, family.model)
        if family.model == "AutoModel":
            return builder.from_config(config, trust_remote_code=self.trusted)
        return builder(config)

    def _missing(self, reader: str, why: str) -> str:
        wanted = {"AutoConfig": "config.json", "AutoFeatureExtractor": "preprocessor_config.json"}.get(
            reader, "model.safetensors"
        )
        local = Path(self.source).expanduser()
        if local.is_dir():
            return f"'hf:{self.source}' cannot be read: {wanted} in {local}: {' '.join(why.split())[:300]}"
        if self.source.startswith(("/", ".", "~")):
            return f"'hf:{self.source}': no folder {local}"
        return (
            f"the files of 'hf:{self.source}' are not there: no {wanted} of it in the local cache (HF_HOME). They come "
            f"from huggingface.co/{self.source}; put them into the cache with 'hf download {self.source}', or give a "
            f"folder that holds them, 'hf:/PATH/TO/FOLDER', or draw random weights by the model's type, as in "
            f"'hf:wav2vec2@random:0'"
        )


def _standard_config(model_type: str) -> Any:
    import transformers

    try:
        return transformers.AutoConfig.for_model(model_type, **_STANDARD.get(model_type, {}))
    except ValueError as why:
        raise ModelError(f"transformers has no standard configuration for {model_type!r}; give a folder") from why


def _standard_extractor(family: Family, config: Any) -> Any:
    import transformers

    options: dict[str, Any] = {}
    if config.model_type == "whisper":
        options["feature_size"] = config.num_mel_bins
    if config.model_type == "clap":
        options["truncation"] = "fusion" if config.audio_config.enable_fusion else "rand_trunc"
    return getattr(transformers, family.extractor)(**options)


def _function(name: str) -> Callable[..., Any]:
    module, function = name.split(":")
    found: Callable[..., Any] = getattr(import_module(f"brainalign.models.{module}"), function)
    return found


def _part(network: Any, family: Family) -> Any:
    return network.get_submodule(family.part) if family.part else network


def prepared_input(extractor: Any, waveforms: Tensor, **options: Any) -> dict[str, Tensor]:
    """Run a feature extractor of transformers on each clip.

    Parameters
    ----------
    extractor : transformers feature extractor
        It is always told the sample rate, and given a list of clips: it would take a matrix for something else.
    waveforms : Tensor, shape (n_sounds, n_samples)
        Mono sounds.
    **options
        Passed on.

    Returns
    -------
    dict of str to Tensor
        What the network takes, on the device of the waveforms.
    """
    clips = list(waveforms.cpu().numpy())
    prepared = extractor(clips, sampling_rate=extractor.sampling_rate, return_tensors="pt", **options)
    return {name: value.to(waveforms.device) for name, value in prepared.items()}
