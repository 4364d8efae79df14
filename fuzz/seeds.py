#!/usr/bin/env python3
"""Fills fuzz/corpus/ from what the repository has already: the golden frames, the golden rows, the
example record and the traces of the tests. Nothing is stored twice; run it again when they change."""

import base64
import hashlib
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
CORPUS = ROOT / "fuzz" / "corpus"
HEADER_BYTES = 12
ENVELOPE_BYTES = 14
# The numbers of fuzz_targets/payload.rs.
KINDS = {
    "Hello": 0, "HelloReply": 1, "Validate": 2, "Increment": 3, "ValidateBatch": 4,
    "IncrementBatch": 5, "SlotRenew": 6, "ValidateReply": 7, "ValidateBatchReply": 8,
    "IncrementReply": 9, "IncrementBatchReply": 9, "SlotRenewReply": 9, "Error": 10,
}
JSON = 11


def put(target, name, data):
    place = CORPUS / target
    place.mkdir(parents=True, exist_ok=True)
    (place / f"seed-{name}").write_bytes(data)


def frames():
    for file in ("valid", "invalid"):
        vectors = json.loads((ROOT / f"protocol/vectors/{file}.json").read_text())["vectors"]
        for vector in vectors:
            name, data = f"{file}-{vector['name']}", bytes.fromhex(vector["hex"])
            put("frame", name, data)
            payload = data[HEADER_BYTES:]
            kind = KINDS.get(vector.get("kind"), JSON)
            put("payload", name, bytes([kind]) + payload)
            if kind == KINDS["Validate"]:
                for key in range(7):
                    put("question", f"{name}-{key}", bytes([key]) + payload)
            token = (vector.get("fields") or {}).get("token") if kind == 2 else None
            if token:
                put("token", name, token.encode())


# Where a row of each golden file lies (src/store/layout.rs): its key begins with its space.
RECORD = b"k" + (1).to_bytes(8, "big")
ROW_KEYS = {
    "record": RECORD,
    # A record that is encrypted, where a record lies.
    "encrypted": RECORD,
    "tenant": b"nacme",
    "usage": b"u" + bytes(8),
    "ledger": b"lk" + bytes(8),
    # A web hook's, by the SHA-256 of its URL.
    "endpoint": b"awacme\0" + hashlib.sha256(b"https://hooks.example.com/a").digest(),
}


def rows():
    for file in sorted((ROOT / "src/store/golden").glob("*.hex")):
        stem = file.stem.split("_")[0]
        if stem not in ROW_KEYS:
            sys.exit(f"{file.relative_to(ROOT)}: fuzz/seeds.py does not know where rows of "
                     f"\"{stem}\" lie; add its key to ROW_KEYS (src/store/layout.rs)")
        key = ROW_KEYS[stem]
        # A file may have several rows, one a line.
        for number, line in enumerate(file.read_text().split()):
            value = bytes.fromhex(line)
            schema, payload = value[4:5], value[ENVELOPE_BYTES:]
            for how, bytes_ in ((0, schema + payload), (1, value)):
                head = bytes([how, len(key)]) + len(bytes_).to_bytes(2, "little")
                put("rows", f"{file.stem}-{number}-{how}", head + key + bytes_)


def texts():
    example = (ROOT / "tests/data/api_key.example.json").read_text()
    put("record_json", "example", example.encode())
    for number, record in enumerate(json.loads(example)["api_keys"]):
        put("record_json", f"record-{number}", json.dumps(record).encode())
    for file in sorted((ROOT / "tests/data/traces").iterdir()):
        if "trace" in file.name or file.suffix in (".jsonl", ".ndjson"):
            put("trace", file.name, b"\n".join(file.read_bytes().splitlines()[:64]))


def signatures():
    vectors = json.loads((ROOT / "src/sign/tests/rfc9421.json").read_text())
    for one in vectors["signatures"]:
        fields = f"{one['signature_input']}\n{one['signature']}"
        put("signature", one["name"], fields.encode())
    for name, pem in vectors["public_keys"].items():
        put("signature", name, pem.encode())
        der = base64.b64decode("".join(pem.splitlines()[1:-1]))
        put("signature", f"{name}-der", der)


frames()
rows()
texts()
signatures()
for target in sorted(CORPUS.iterdir()):
    print(f"{target.name}: {len(list(target.glob('seed-*')))} seeds")
