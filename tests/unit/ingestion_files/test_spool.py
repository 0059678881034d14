from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest

from services.ingestion.spool import NotText, Spool, TooLarge


async def received(chunks: Sequence[bytes], limit: int = 10_000_000) -> list[str]:
    async def arriving() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    with Spool(limit) as spool:
        await spool.receive(arriving())
        assert spool.content() == b"".join(chunks)
        assert spool.size == len(spool.content())
        first, second = list(spool.lines()), list(spool.lines())
        assert first == second
        return first


async def test_lines_come_as_they_were_sent_however_they_were_cut() -> None:
    content = "a,b\r\nAcmé,ü\n".encode("utf-8-sig")
    for size in (1, 3, 1_000):
        assert await received([content[i : i + size] for i in range(0, len(content), size)]) == ["a,b\r\n", "Acmé,ü\n"]


async def test_a_file_larger_than_memory_may_be_is_kept_beside_it() -> None:
    lines = [f"{n},{'x' * 100}\n" for n in range(20_000)]
    assert await received(["".join(lines).encode()]) == lines


@pytest.mark.parametrize(
    ("chunks", "why"),
    [
        ([b"a,b\n1,2\n", b"3,\xe9\n"], "not UTF-8 in line 3"),
        ([b"a,b\n1,\xc3"], "not UTF-8 in line 2"),
        ([b"a,b\n1,\xc3", b"2\n"], "not UTF-8 in line 2"),
        ([b"\xff\xfea\x00"], "UTF-16"),
        ([b"\x1f\x8b\x08"], "compressed"),
        ([b"%PDF-1.7"], "a PDF"),
    ],
)
async def test_what_is_no_text_is_refused_with_its_line_or_kind(chunks: list[bytes], why: str) -> None:
    with pytest.raises(NotText, match=why) as refused:
        await received(chunks)
    assert refused.value.fix


async def test_a_file_over_the_limit_is_refused_while_it_arrives() -> None:
    with pytest.raises(TooLarge):
        await received([b"x" * 600, b"x" * 600, b"never read"], limit=1_000)


async def test_an_empty_file_is_empty() -> None:
    assert await received([]) == []
