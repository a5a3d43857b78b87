#!/usr/bin/env python3
"""Extracts the torture messages of RFC 4475 and RFC 5118 from the texts of these RFCs.

Usage: extract.py RFC4475.txt RFC5118.txt OUTPUT_FOLDER

RFC 4475 carries a base64 archive with the exact octets. RFC 5118 prints its messages; page breaks are cut out, lines
between <allOneLine> marks are joined, and each line gets its CRLF. Its Content-Lengths do not count what is printed, so
they are set to the length of the body.
"""

import base64
import io
import pathlib
import re
import sys
import tarfile


def archive(text):
    block = text.split("\n   -- BEGIN MESSAGE ARCHIVE --")[1].split("-- END MESSAGE ARCHIVE --")[0]
    lines = [line.strip() for line in block.splitlines()]
    data = "".join(line for line in lines if re.fullmatch(r"[A-Za-z0-9+/=]+", line))
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(data))) as tar:
        for member in tar:
            if member.isfile():
                yield pathlib.PurePath(member.name).name, tar.extractfile(member).read()


def printed(text):
    pages = re.sub(r"\n+[^\n]*\[Page \d+\]\n\f?\n?RFC 5118[^\n]*\n\n*", "\n\n", text)
    for part in pages.split("Message Details: ")[1:]:
        name, _, rest = part.partition("\n")
        lines, blank = [], 0
        for line in rest.splitlines():
            if line.startswith("      "):
                if blank and lines:
                    lines.append("")
                lines.append(line.strip())
                blank = 0
            elif line.strip():
                break
            else:
                blank += 1
        joined, one = [], None
        for line in lines:
            if line == "<allOneLine>":
                one = ""
            elif line == "</allOneLine>":
                joined.append(one)
                one = None
            elif one is not None:
                one += line
            else:
                joined.append(line)
        if "" not in joined:
            joined.append("")
        octets = "".join(line + "\r\n" for line in joined).encode()
        head, body = octets.split(b"\r\n\r\n", 1)
        head = re.sub(rb"(?<=Content-Length: )\d+", str(len(body)).encode(), head)
        yield name.strip() + ".dat", head + b"\r\n\r\n" + body


def main():
    rfc4475, rfc5118, folder = map(pathlib.Path, sys.argv[1:4])
    for prefix, messages in [("rfc4475", archive(rfc4475.read_text())), ("rfc5118", printed(rfc5118.read_text()))]:
        (folder / prefix).mkdir(parents=True, exist_ok=True)
        for name, octets in messages:
            (folder / prefix / name).write_bytes(octets)


main()
