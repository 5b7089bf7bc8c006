"""What a converted model says of itself: `replymill.json`, written by `engine.convert`, read by `engine.model`."""

from enum import StrEnum
from pathlib import Path
from typing import Self

import msgspec

from engine.errors import DamagedModel, DownloadFailed

#: Raised by one when the meaning of a converted folder changes; older folders are converted again.
CONVERTER = 2
#: The marker of a complete folder: it is in place only when everything else is.
FILE = "replymill.json"


class Kind(StrEnum):
    """What the model makes."""

    #: Decoder only: continues the prompt.
    GENERATOR = "generator"
    #: Encoder and decoder: maps the prompt to an answer.
    TRANSLATOR = "translator"
    #: Makes no text: maps a text to a vector, see `engine.encoder`.
    ENCODER = "encoder"


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """The facts of a converted model that its weights do not tell."""

    #: The source as it was named, without its hash.
    source: str
    #: SHA-256 of the GGUF, or of `model.bin` and the weights it came from, in hexadecimal.
    sha256: str
    #: Such as `llama`; for a ready folder the name of its CTranslate2 specification.
    architecture: str
    kind: Kind
    #: Type of the saved weights: `int8`, `float16`, `float32`, or `ready` for a folder that came converted.
    weights: str
    #: File of the tokenizer: `tokenizer.json`, or a SentencePiece model.
    tokenizer: str
    #: SentencePiece model of the answers where it differs from `tokenizer`.
    target_tokenizer: str = ""
    #: Jinja template of a conversation; empty where the model has none.
    chat_template: str = ""
    #: Tokens that end a reply; empty: the model's own.
    end_tokens: tuple[str, ...] = ()
    bos_token: str = ""
    eos_token: str = ""
    #: Every prompt begins with `bos_token`, whatever the template says.
    add_bos: bool = False
    #: Token that a source text must end with (encoder-decoder models).
    source_end: str = ""
    #: Most tokens of prompt and reply together, or of a text that is encoded; 0 where it is not known.
    context_length: int = 0
    #: Numbers in a vector (encoders).
    dimension: int = 0
    #: How the vectors of tokens become that of the text: `mean` or `cls` (encoders).
    pooling: str = ""
    #: Bytes of `model.bin`, to notice a cut file without reading it.
    model_bytes: int
    converter: int = CONVERTER

    def write(self, folder: Path) -> None:
        """Puts the card into `folder`."""
        (folder / FILE).write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1))

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The card in `folder`.

        :raises DamagedModel: where there is none, or one that cannot be read.
        """
        try:
            return msgspec.json.decode((folder / FILE).read_bytes(), type=cls)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise DamagedModel(f"{folder} holds no {FILE}: it is not a converted model; run `replymill model convert`") from error
        except OSError as error:
            raise DownloadFailed(
                f"{folder / FILE} cannot be read ({error.strerror}): give this user permission to read it"
            ) from error
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise DamagedModel(f"{folder / FILE} is damaged ({error}): delete {folder} and convert again") from error


def is_complete(folder: Path) -> bool:
    """True if `folder` holds a finished model of this converter; reads no weights."""
    try:
        card = Card.read(folder)
        return card.converter == CONVERTER and (folder / "model.bin").stat().st_size == card.model_bytes
    except (DamagedModel, FileNotFoundError):
        return False
