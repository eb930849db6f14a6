"""Vision: an image and a PDF for models that accept them, and the error of those that do not."""

import base64
import struct
import zlib

from _local import run
from langchain_core.messages import HumanMessage

from langchain_aimlernie import BadRequestError, ChatAimlErnie

PDF = b"""%PDF-1.1
1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj
2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj
3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]>>endobj
trailer<</Root 1 0 R>>
%%EOF"""


def red_square(side: int = 64) -> bytes:
    """Draw a PNG without any library."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checked = kind + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = (b"\0" + b"\xff\0\0" * side) * side
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def ask(question: str, data: bytes, mime_type: str) -> HumanMessage:
    """Put a question and a medium into one message, as LangChain's standard blocks."""
    # {"type": "image", "url": "https://…"} will do for an image: the provider fetches it.
    kind = "image" if mime_type.startswith("image/") else "file"
    medium = {"type": kind, "base64": base64.b64encode(data).decode(), "mime_type": mime_type}
    return HumanMessage(content_blocks=[{"type": "text", "text": question}, medium])


def main() -> None:
    """Show a picture and a file to a vision model, then to one that takes text only."""
    picture = ask("What colour is this?", red_square(), "image/png")
    llm = ChatAimlErnie(model="baidu/ernie-4.5-vl-28b-a3b")
    print(llm.invoke([picture]).text)
    print(llm.invoke([ask("How many pages has this?", PDF, "application/pdf")]).text)

    try:
        ChatAimlErnie(model="baidu/ernie-4.5-21b-a3b").invoke([picture])
    except BadRequestError as error:
        print("not sent:", error)


if __name__ == "__main__":
    run(main)
