//! That no secret gets into the file.

use change::{Topic, Verdict};

use crate::world::{ENV, World, edit, entry, id, put};

const CANARY: &str = "c4naryS3cret";

fn database(extra: &str) -> String {
    format!(
        r#"{{"database_name":"x","sqlalchemy_uri":"postgresql://u:{CANARY}@h/d","password":"{CANARY}",{extra}"uuid":"00000000-0000-0000-0000-000000000001","version":"1.0.0"}}"#
    )
}

#[tokio::test]
async fn a_rejected_documents_secrets_are_nowhere_in_the_file() {
    let mut world = World::new().await;
    let gzip = [&[0x1f, 0x8b], CANARY.as_bytes()].concat();
    let mut torn = put("assets/main/databases/torn", 7, 0, "");
    if let change::Op::Put { bytes, .. } = &mut torn.op {
        *bytes = gzip;
    }
    let changes = vec![
        put("assets/main/databases/clear", 1, 0, &database("")),
        put("assets/main/databases/unknown", 2, 0, &database(&format!(r#""passwrod":"{CANARY}","#))),
        put(
            "assets/main/databases/nested",
            3,
            0,
            &database(&format!(r#""extra":{{"a":{{"token":"{CANARY}"}}}},"#)),
        ),
        put("assets/main/databases/text", 4, 0, CANARY),
        put("assets/main/databases/half", 5, 0, &database("")[..90]),
        put("assets/main/widgets/no-kind", 6, 0, &format!(r#""{CANARY}""#)),
        torn,
        put("assets/main/charts/uri", 8, 0, &format!(r#"{{"cache":"postgresql://u:{CANARY}@h/d"}}"#)),
        put("settings/config/SMTP_PASSWORD", 9, 0, &format!(r#""{CANARY}""#)),
        put("settings/config/CELERY", 10, 0, &format!(r#"{{"broker":"redis://:{CANARY}@h/0"}}"#)),
        put("assets/main", 11, 0, CANARY),
        put(
            "endpoints/hive",
            12,
            0,
            &format!(r#"{{"v":1,"endpoint":"hive","chosen":["{CANARY}"],"token":"{CANARY}"}}"#),
        ),
        put(
            "settings/endpoints/hive",
            13,
            0,
            &format!(r#"{{"v":1,"connect":"pg://u:{CANARY}@h","password":"{CANARY}"}}"#),
        ),
    ];
    let ids: Vec<String> = changes.iter().map(|change| change.id(1).to_string()).collect();
    let message = format!("now at postgresql://u:{CANARY}@h/d");
    world.watch(1, &[edit(10, "ada", &message, changes)]).await;
    for id in &ids {
        let reason = format!("driver of mysql://u:{CANARY}@h is not allowed");
        let verdict = Verdict::Rejected { reason, place: None };
        world.outcome(id, 11, verdict).await;
    }
    // An applier's slip.
    let mut slip = world.outcome(&id("assets/main/databases/clear", 1, Some(0)), 12, Verdict::Applied).await;
    slip.key.sequence += 1;
    slip.before = Some(database(""));
    world.relay(&slip).await;
    // Bytes that are no record.
    let mut broken = entry(change::wire::encode_outcome(ENV, &slip));
    broken.body.truncate(broken.body.len() - 1);
    world.queue.append(&Topic::Outcomes.name(ENV), None, &[broken]).await.expect("appends");
    world.record().await;
    assert_eq!((world.counted().changes, world.counted().outcomes, world.counted().events), (13, 15, 1));
    world.audit().history(&auditor::Filter::default()).await.expect("reads");
    world.database.close().await;

    let mut looked = 0;
    for file in std::fs::read_dir(world.folder()).expect("a folder") {
        let file = file.expect("a file").path();
        if file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("audit.db")) {
            let bytes = std::fs::read(&file).expect("reads");
            assert!(!holds(&bytes, CANARY), "{} holds a secret", file.display());
            looked += bytes.len();
        }
    }
    assert!(looked > 4096, "the file was looked at");
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}
