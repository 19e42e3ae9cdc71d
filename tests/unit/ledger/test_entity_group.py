"""Answers of the table service are read, and equal transactions are equal bytes."""

from __future__ import annotations

import pytest

from shared.adapters.tables.entity_group import (
    decode_page,
    decode_row,
    decoded_fields,
    encode_transaction,
    entity_path,
    inspect_page,
    store_error,
    transaction_result,
)
from shared.adapters.tables.store import (
    AnswerLost,
    Delete,
    Insert,
    Merge,
    PreconditionFailed,
    Rejected,
    RowChange,
    RowExists,
    RowMissing,
    StoreError,
    TableMissing,
)

MERGE = Merge("B", {}, "e")


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (412, b"UpdateConditionNotSatisfied", PreconditionFailed),
        (409, b"EntityAlreadyExists", RowExists),
        (409, b"TableBeingDeleted", AnswerLost),
        (404, b"ResourceNotFound", RowMissing),
        (404, b"TableNotFound", TableMissing),
        (400, b"InvalidInput", Rejected),
        (413, b"RequestBodyTooLarge", Rejected),
        (401, b"", AnswerLost),
        (403, b"", AnswerLost),
        (429, b"", AnswerLost),
        (500, b"", AnswerLost),
        (503, b"ServerBusy", AnswerLost),
    ],
)
def test_each_status_has_one_meaning_for_the_protocol(status: int, body: bytes, error: type[StoreError]) -> None:
    assert type(store_error(status, body)) is error
    with pytest.raises(error):
        transaction_result(202, b"HTTP/1.1 %d Something\r\n\r\n" % status + body, MERGE)


def test_the_etag_of_the_first_row_is_returned() -> None:
    answer = b'x\r\nHTTP/1.1 204 No Content\r\nETag: W/"1"\r\n\r\nHTTP/1.1 204 No Content\r\nETag: W/"2"\r\n'
    assert transaction_result(202, answer, MERGE) == 'W/"1"'


@pytest.mark.parametrize(
    "answer", [b"", b"--batch--", b"HTTP/1.1 204 No Content\r\nContent-ID: 0\r\n\r\n", b"HTTP/1.1 204"]
)
def test_an_answer_that_was_cut_is_no_answer(answer: bytes) -> None:
    with pytest.raises(AnswerLost):
        transaction_result(202, answer, MERGE)


def test_a_refused_batch_is_an_error() -> None:
    with pytest.raises(AnswerLost):
        transaction_result(503, b"", MERGE)


def test_equal_transactions_are_equal_bytes_and_others_are_not() -> None:
    changes: list[RowChange] = [
        Merge("B", {"seq": 2**40, "flag": True}, "e"),
        Insert("E|1", {"text": "x"}),
        Delete("P|1"),
    ]
    first = encode_transaction("http://h/a", "t", "p|00", changes, "c1")
    assert first == encode_transaction("http://h/a", "t", "p|00", changes, "c1")
    assert first != encode_transaction("http://h/a", "t", "p|00", changes, "c2")
    body = first[1]
    assert b'"seq":"1099511627776","seq@odata.type":"Edm.Int64"' in body
    assert body.index(b"MERGE") < body.index(b"POST") < body.index(b"DELETE")


def test_keys_are_quoted() -> None:
    assert entity_path("t", "a|00", "it's") == "t(PartitionKey='a%7C00',RowKey='it%27%27s')"


@pytest.mark.parametrize("body", [b"", b"{", b'{"value": 7}', b'{"value": [{}]}', b'{"value": ["B"]}'])
def test_pages_that_cannot_be_read_are_no_answer(body: bytes) -> None:
    with pytest.raises(AnswerLost):
        list(decode_page(body))


@pytest.mark.parametrize("body", [b"", b"{", b'{"seq": "7"}', b'{"RowKey": "B", "seq": "x"}'])
def test_rows_that_cannot_be_read_are_no_answer(body: bytes) -> None:
    with pytest.raises(AnswerLost):
        decode_row(body, "e")


def test_rows_are_read_by_their_types() -> None:
    entity = b'{"PartitionKey":"p","RowKey":"B","Timestamp":"t","seq":"9","flag":true,"none":null}'
    (scanned,) = decode_page(b'{"value":[%b]}' % entity)
    read = decode_row(entity, "e")
    assert (scanned.key, decoded_fields(scanned.fields)) == ("B", {"seq": 9, "flag": True}) == (read.key, read.fields)


def test_a_row_is_inspected_with_the_types_that_the_service_states() -> None:
    entity = (
        b'{"odata.etag":"e","PartitionKey":"a","RowKey":"B","Timestamp":"t","none":null,"state":"OPEN","seq":3,'
        b'"tokens@odata.type":"Edm.Int64","tokens":"7","status@odata.type":"Edm.Int64","status":"200",'
        b'"rid@odata.type":"Edm.Guid","rid":"0","pusd":"5"}'
    )
    (row,) = inspect_page(b'{"value":[%b]}' % entity)
    assert row.key == "B"
    assert row.fields == {"state": "OPEN", "seq": 3, "tokens": 7, "status": 200, "rid": "0", "pusd": "5"}
    assert [*row.mistyped] == ["seq", "status", "rid"]


@pytest.mark.parametrize(
    "body", [b"", b'{"value":[{}]}', b'{"value":[{"RowKey":"B","n@odata.type":"Edm.Int64","n":"many"}]}']
)
def test_a_page_that_cannot_be_inspected_is_a_lost_answer(body: bytes) -> None:
    with pytest.raises(AnswerLost):
        list(inspect_page(body))
