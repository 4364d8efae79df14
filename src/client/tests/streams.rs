//! The admin socket: JSON calls, lists of many frames, import and export.

use bytes::BytesMut;
use keygate_protocol::admin::{
    BackupFrame, BackupRow, ImportChunk, ImportReport, KeyCreated, KeyList, KeyPage, KeyRef,
    VerifyFrame,
};
use keygate_protocol::limits::ADMIN_FRAME_BYTES_MAX;
use keygate_protocol::{ErrorCode, Flags, Opcode};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::builder;
use super::fake::{FakeDaemon, Greeting, Peer};
use crate::client::{Client, Error};

const ADMIN: Greeting = Greeting { batch_items_max: 512, frame_bytes_max: ADMIN_FRAME_BYTES_MAX };

fn write_json<T: serde::Serialize>(json: &T) -> impl FnOnce(&mut BytesMut) + use<T> {
    let bytes = serde_json::to_vec(json).expect("it is JSON");
    move |out| out.extend_from_slice(&bytes)
}

fn record(id: usize, padding: usize) -> Box<RawValue> {
    let record = json!({ "id": id.to_string(), "name": "n".repeat(padding) });
    serde_json::value::to_raw_value(&record).expect("it is JSON")
}

#[tokio::test]
async fn admin_calls_carry_json_both_ways() {
    let daemon = FakeDaemon::start();
    let client = builder(&daemon).build();
    let server = async {
        let mut peer = daemon.accept_with(ADMIN).await;
        let asked = peer.asked().await.expect("a key is made");
        assert_eq!(asked.opcode, Opcode::KeyCreate);
        let asked_for: Value = serde_json::from_slice(&asked.payload).expect("it is JSON");
        assert_eq!(asked_for, json!({ "record": { "name": "n" } }));
        let created = KeyCreated {
            key: json!({ "id": "7" }),
            token: Some("kg_live_t".to_owned()),
            repeated: false,
            notices: vec![],
        };
        peer.answer(&asked, write_json(&created)).await;

        let asked = peer.asked().await.expect("a key is asked for");
        let key: KeyRef = serde_json::from_slice(&asked.payload).expect("it is JSON");
        assert_eq!((asked.opcode, key.id.as_str()), (Opcode::KeyGet, "7"));
        peer.refuse(asked.correlation, ErrorCode::NotFound, "no key 7").await;

        let asked = peer.asked().await.expect("health is asked for");
        assert_eq!((asked.opcode, asked.payload.as_slice()), (Opcode::Health, b"{}".as_slice()));
        let health = json!({ "healthy": true, "writable": true, "reasons": [], "later": 1 });
        peer.answer(&asked, write_json(&health)).await;

        let asked = peer.asked().await.expect("usage is asked for");
        peer.answer(&asked, |out| out.extend_from_slice(b"{}")).await;
    };
    let calls = async {
        let created = client.create(json!({ "name": "n" })).await.expect("an answer");
        assert_eq!(created.token.as_deref(), Some("kg_live_t"));
        let error = client.get(7).await.expect_err("there is none");
        assert_eq!(error.code(), Some(ErrorCode::NotFound));
        assert!(client.health().await.expect("an answer").healthy);
        let error = client.usage(7).await.expect_err("that is no usage");
        assert!(matches!(error, Error::Protocol(_)), "{error}");
    };
    tokio::join!(server, calls);
}

#[tokio::test]
async fn a_list_of_many_frames_is_one_page_and_others_answers_may_come_between() {
    let daemon = FakeDaemon::start();
    let client = builder(&daemon).build();
    let server = async {
        let mut peer = daemon.accept_with(ADMIN).await;
        let list = peer.asked().await.expect("a list");
        let ping = peer.asked().await.expect("a ping");
        let page = |ids: &[u32], next: Option<&str>| {
            write_json(&KeyPage {
                keys: ids.iter().map(|id| json!(id)).collect(),
                next: next.map(str::to_owned),
                ..KeyPage::default()
            })
        };
        let reply = Opcode::KeyList.reply();
        peer.send(reply, Flags::MORE, list.correlation, page(&[1, 2], None)).await;
        peer.answer_as_usual(&ping).await;
        peer.send(reply, Flags::MORE, list.correlation, page(&[3], None)).await;
        peer.send(reply, Flags::NONE, list.correlation, page(&[4], Some("4"))).await;
    };
    let list = KeyList { limit: Some(4), ..KeyList::default() };
    let (page, ping, ()) = tokio::join!(client.list(&list), client.ping(), server);
    let page = page.expect("an answer");
    assert_eq!(page.keys, [json!(1), json!(2), json!(3), json!(4)]);
    assert_eq!(page.next.as_deref(), Some("4"));
    ping.expect("an answer");
}

async fn read_import(peer: &mut Peer) -> (usize, Vec<ImportChunk>) {
    let mut largest = 0;
    let mut chunks = Vec::new();
    loop {
        let asked = peer.asked().await.expect("a chunk");
        assert_eq!(asked.opcode, Opcode::Import);
        largest = largest.max(asked.payload.len());
        chunks.push(serde_json::from_slice(&asked.payload).expect("a chunk is JSON"));
        if !asked.flags.has(Flags::MORE) {
            let report = ImportReport { imported: 1, ..ImportReport::default() };
            peer.answer(&asked, write_json(&report)).await;
            return (largest, chunks);
        }
    }
}

#[tokio::test]
async fn an_import_packs_records_into_frames_that_fit_and_marks_the_last() {
    for (count, padding, skip_bad) in [
        (0, 0, false),
        (1, 10, true),
        (5000, 200, false),
        (3, 600_000, true),
        (2, 1_048_400, false),
    ] {
        let daemon = FakeDaemon::start();
        let client = builder(&daemon).build();
        let server = async {
            let mut peer = daemon.accept_with(ADMIN).await;
            read_import(&mut peer).await
        };
        let import = async {
            let mut import = client.import(skip_bad).await.expect("a connection");
            for id in 0..count {
                import.push(&record(id, padding)).await.expect("the daemon reads on");
            }
            assert_eq!(import.records(), count as u64);
            import.finish().await.expect("a report")
        };
        let (report, (largest, chunks)) = tokio::join!(import, server);
        assert_eq!(report.imported, 1);
        assert!(largest + 8 <= ADMIN_FRAME_BYTES_MAX as usize);
        assert_eq!(chunks.first().map(|chunk| chunk.skip_bad), Some(skip_bad));
        let records = chunks.iter().flat_map(|chunk| &chunk.records).map(|one| one.get());
        let expected: Vec<_> = (0..count).map(|id| record(id, padding)).collect();
        assert!(records.eq(expected.iter().map(|one| one.get())), "{count} of {padding}");
    }
}

#[tokio::test]
async fn an_import_keeps_tenants_and_keys_apart_and_in_order() {
    let daemon = FakeDaemon::start();
    let client = builder(&daemon).build();
    let server = async {
        let mut peer = daemon.accept_with(ADMIN).await;
        read_import(&mut peer).await.1
    };
    let import = async {
        let mut import = client.import(true).await.expect("a connection");
        for id in 0..6 {
            let pushed = match id {
                0 | 1 | 5 => import.push_tenant(&record(id, 0)).await,
                _ => import.push(&record(id, 0)).await,
            };
            pushed.expect("the daemon reads on");
        }
        assert_eq!(import.records(), 3);
        import.finish().await.expect("a report")
    };
    let (_, chunks) = tokio::join!(import, server);
    assert!(chunks[0].skip_bad, "the first frame counts");
    let counts: Vec<_> =
        chunks.iter().map(|chunk| (chunk.tenants.len(), chunk.records.len())).collect();
    assert_eq!(counts, [(2, 0), (0, 3), (1, 0)]);
    let all = chunks.iter().flat_map(|chunk| chunk.tenants.iter().chain(&chunk.records));
    let expected: Vec<_> = (0..6).map(|id| record(id, 0)).collect();
    assert!(all.map(|one| one.get()).eq(expected.iter().map(|one| one.get())));
}

#[tokio::test]
async fn an_import_that_is_refused_midway_ends_there() {
    let daemon = FakeDaemon::start();
    let client = builder(&daemon).build();
    let server = async {
        let mut peer = daemon.accept_with(ADMIN).await;
        let first = peer.asked().await.expect("a chunk");
        assert!(first.flags.has(Flags::MORE));
        peer.refuse(first.correlation, ErrorCode::Invalid, "record 3: scopes: …").await;
        // Reads no further: the client must notice although the socket fills up.
        peer
    };
    let import = async {
        let mut import = client.import(false).await.expect("a connection");
        let record = record(1, 60_000);
        loop {
            if let Err(error) = import.push(&record).await {
                return error;
            }
        }
    };
    let (error, _peer) = tokio::join!(import, server);
    assert_eq!(error.code(), Some(ErrorCode::Invalid));
    assert!(error.to_string().contains("record 3") && !error.may_have_been_executed(), "{error}");
}

#[tokio::test]
async fn an_import_may_have_been_executed_only_once_its_end_was_written() {
    for finish in [false, true] {
        let daemon = FakeDaemon::start();
        let client = builder(&daemon).build();
        let server = async {
            let mut peer = daemon.accept_with(ADMIN).await;
            while let Some(asked) = peer.asked().await {
                if !finish || !asked.flags.has(Flags::MORE) {
                    return;
                }
            }
        };
        let import = async {
            let mut import = client.import(false).await.expect("a connection");
            let record = record(1, 60_000);
            for _ in 0..100 {
                import.push(&record).await?;
            }
            import.finish().await
        };
        let (result, ()) = tokio::join!(import, server);
        let error = result.expect_err("the daemon went away");
        assert_eq!(error.may_have_been_executed(), finish, "{error}");
    }
}

#[tokio::test]
async fn a_record_that_fits_no_frame_is_refused_here() {
    let daemon = FakeDaemon::start();
    let client = builder(&daemon).build();
    let (import, _peer) = tokio::join!(client.import(false), daemon.accept_with(ADMIN));
    let mut import = import.expect("a connection");
    let error = import.push(&record(1, 1 << 20)).await.expect_err("it fits no frame");
    assert!(matches!(error, Error::TooLarge { .. }) && !error.may_have_been_executed(), "{error}");
}

async fn export_page(peer: &mut Peer, correlation: u32, ids: &[u32], flags: Flags) {
    let page = KeyPage { keys: ids.iter().map(|id| json!(id)).collect(), ..KeyPage::default() };
    peer.send(Opcode::Export.reply(), flags, correlation, write_json(&page)).await;
}

async fn all(client: &Client) -> Result<Vec<String>, Error> {
    let mut export = client.export().await?;
    let mut records = Vec::new();
    while let Some(page) = export.next_page().await? {
        records.extend(page.keys.iter().map(|record| record.get().to_owned()));
    }
    assert!(export.next_page().await?.is_none(), "the end stays the end");
    Ok(records)
}

#[tokio::test]
async fn an_export_comes_page_by_page_to_its_end() {
    let daemon = FakeDaemon::start();
    let client = builder(&daemon).build();
    let server = async {
        let mut peer = daemon.accept_with(ADMIN).await;
        let asked = peer.asked().await.expect("an export");
        assert_eq!(asked.opcode, Opcode::Export);
        export_page(&mut peer, asked.correlation, &[1, 2], Flags::MORE).await;
        export_page(&mut peer, asked.correlation, &[3], Flags::MORE).await;
        export_page(&mut peer, asked.correlation, &[], Flags::NONE).await;
    };
    let (records, ()) = tokio::join!(all(&client), server);
    assert_eq!(records.expect("all pages"), ["1", "2", "3"]);
}

#[tokio::test]
async fn an_export_that_breaks_off_is_an_error_and_not_an_end() {
    for refused in [true, false] {
        let daemon = FakeDaemon::start();
        let client = builder(&daemon).build();
        let server = async {
            let mut peer = daemon.accept_with(ADMIN).await;
            let asked = peer.asked().await.expect("an export");
            export_page(&mut peer, asked.correlation, &[1], Flags::MORE).await;
            if refused {
                peer.refuse(asked.correlation, ErrorCode::Storage, "the disk is gone").await;
            }
        };
        let (records, ()) = tokio::join!(all(&client), server);
        let error = records.expect_err("the end is missing");
        assert_eq!(matches!(error, Error::Refused(_)), refused, "{error}");
    }
}

#[tokio::test]
async fn a_backup_and_a_verification_come_frame_by_frame_to_their_ends() {
    let daemon = FakeDaemon::start();
    let client = builder(&daemon).build();
    let row = |key: &str| BackupRow { k: key.to_owned(), ..BackupRow::default() };
    let frame = |rows| BackupFrame { rows, ..BackupFrame::default() };
    let server = async {
        let mut peer = daemon.accept_with(ADMIN).await;
        let asked = peer.asked().await.expect("a backup");
        assert_eq!(asked.opcode, Opcode::Backup);
        assert_eq!(asked.payload, br#"{"without_pepper":true}"#);
        let reply = Opcode::Backup.reply();
        let first = write_json(&frame(vec![row("YQ=="), row("Yg==")]));
        peer.send(reply, Flags::MORE, asked.correlation, first).await;
        peer.send(reply, Flags::NONE, asked.correlation, write_json(&frame(vec![]))).await;

        let mut peer = daemon.accept_with(ADMIN).await;
        let asked = peer.asked().await.expect("a verification");
        assert_eq!((asked.opcode, asked.payload.as_slice()), (Opcode::Verify, b"{}".as_slice()));
        let reply = Opcode::Verify.reply();
        let progress = write_json(&VerifyFrame::default());
        peer.send(reply, Flags::MORE, asked.correlation, progress).await;
        peer.refuse(asked.correlation, ErrorCode::Storage, "the disk is gone").await;
    };
    let calls = async {
        let mut backup = client.backup(true).await.expect("a connection");
        let first = backup.next_frame().await.expect("readable").expect("a frame");
        assert_eq!(first.rows, [row("YQ=="), row("Yg==")]);
        assert!(backup.next_frame().await.expect("readable").is_some());
        assert!(backup.next_frame().await.expect("readable").is_none());

        let mut verification = client.verify().await.expect("a connection");
        assert!(verification.next_frame().await.expect("readable").is_some());
        let error = verification.next_frame().await.expect_err("it broke off");
        assert_eq!(error.code(), Some(ErrorCode::Storage), "{error}");
    };
    tokio::join!(server, calls);
}
