//! People who are enrolled: kept while they agree, and nobody's secrets on disk.

use serde_json::Value;

use crate::support::pixels::Rect;
use crate::support::{GARIM, Ran, Scratch};

/// Where the man's face is in [`video`], in every frame.
const HIS_FACE: Rect = Rect { x: 450, y: 85, width: 65, height: 90 };
const HER_FACE: Rect = Rect { x: 150, y: 80, width: 80, height: 110 };

/// Two people side by side for two seconds.
fn video(s: &Scratch) {
    s.ffmpeg(
        "-ss 10 -t 2 -i @made/two_people.mp4 -vf scale=640:240 -c:v libx264 -preset ultrafast \
         -crf 14 -c:a copy in.mp4",
    );
}

fn enrol(s: &Scratch, args: &str) -> Ran {
    s.garim(&format!("people add {args} --by Jun --how form"))
}

/// The events of a command with `--json`.
fn events(ran: &Ran) -> Vec<Value> {
    ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn he_is_shown_while_he_agrees_and_that_is_logged() {
    let s = Scratch::new();
    video(&s);
    let enrolled = enrol(&s, "Jun @made/keep_man.jpg --json").ok();
    let id = events(&enrolled)[0]["id"].as_str().unwrap().to_owned();
    let report = s.mosaic("in.mp4", "--crf 12 --keep Jun");
    s.assert_shown("in.mp4", "out.mp4", HIS_FACE);
    s.assert_covered("in.mp4", "out.mp4", HER_FACE);
    assert!(report.to_string().contains("\"person\":\"Jun\""), "{report:#}");
    assert!(!report.to_string().contains("template"));
    s.garim("verify in.mp4 out.mp4 --keep Jun").ok();

    let log = events(&s.garim("audit list --json").ok());
    let actions: Vec<&str> = log.iter().map(|e| e["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["enrol", "grant", "keep"]);
    assert!(log.iter().all(|entry| entry["subject"] == id.as_str()));
    assert!(
        log[2]["detail"].as_str().unwrap().contains(report["input"]["sha256"].as_str().unwrap())
    );

    let withdrawn = s.garim("consent withdraw Jun --by Jun").ok().stdout;
    assert!(withdrawn.contains("covered from now on"), "{withdrawn}");
    std::fs::remove_file(s.path("out.mp4")).unwrap();
    let error = s.refusal("in.mp4", &format!("--keep {id}"));
    assert!(error.contains("Jun is not kept: consent withdrawn"), "{error}");
    let checked = s.garim("audit verify").ok().stdout;
    assert!(checked.starts_with("4 entries, none changed or missing; last hash "), "{checked}");
}

#[test]
fn a_photo_that_does_not_do_enrols_nobody_and_says_why() {
    let s = Scratch::new();
    s.write("text.jpg", "no picture");
    s.ffmpeg("-i @clm/franck_02159.jpg -vf gblur=sigma=10 blurred.png");
    s.ffmpeg("-i @clm/franck_02159.jpg -vf lutrgb=r=val/8:g=val/8:b=val/8 dark.png");
    s.ffmpeg("-i @clm/franck_02159.jpg -vf scale=iw/10:-2 small.png");
    for (photos, code) in [
        ("text.jpg", "unreadable"),
        ("@pyfeat/free-mountain-vector-01.jpg", "no_face"),
        ("@pyfeat/multi_face.jpg", "several_faces"),
        ("small.png", "too_small"),
        ("blurred.png", "blurred"),
        ("dark.png", "dark"),
        ("@pyfeat/BWPictureHuman.jpg", "extreme_pose"),
        ("@clm/franck_02159.jpg @clm/franck_02888.jpg @clm/audrey.jpg", "not_one_person"),
    ] {
        let ran = enrol(&s, &format!("Franck {photos} --json"));
        assert_eq!(ran.code, Some(1), "{ran:#?}");
        let refused = events(&ran);
        assert_eq!(refused.len(), 1, "{ran:#?}");
        assert_eq!((&refused[0]["event"], &refused[0]["code"]), (&"refused".into(), &code.into()));
        let last = photos.rsplit(['/', '@']).next().unwrap();
        assert!(refused[0]["message"].as_str().unwrap().contains(last), "{ran:#?}");
        assert!(
            ran.stderr.contains(code) && ran.stderr.contains("nobody was enrolled"),
            "{ran:#?}"
        );
    }
    assert_eq!(s.garim("people list --json").ok().stdout, "");
    s.garim("audit verify").ok();
}

#[test]
fn nobody_is_enrolled_twice_under_two_names() {
    let s = Scratch::new();
    enrol(&s, "Franck @clm/franck_02159.jpg @clm/franck_02888.jpg").ok();
    let ran = enrol(&s, "Frank @clm/franck_04117.jpg --json");
    assert_eq!(events(&ran)[0]["code"], "near_duplicate", "{ran:#?}");
    assert!(ran.stderr.contains("looks like Franck"), "{ran:#?}");
    // Another collection is another streamer's.
    enrol(&s, "Frank @clm/franck_04117.jpg --collection elsewhere").ok();
    let taken = enrol(&s, "Franck @clm/audrey.jpg").error();
    assert!(taken.contains("has a person \"Franck\" already"), "{taken}");
    assert_eq!(events(&s.garim("people list --json").ok()).len(), 2);
    s.garim("people remove Franck").ok();
    assert_eq!(events(&s.garim("people list --json").ok()).len(), 1);
    s.garim("audit verify").ok();
}

#[test]
fn consent_is_asked_for_and_ends() {
    let s = Scratch::new();
    let unasked = s.garim("people add Franck @clm/franck_02159.jpg");
    assert_eq!(unasked.code, Some(2), "{unasked:#?}");
    let past = enrol(&s, "Franck @clm/franck_02159.jpg --until 2020-01-01").error();
    assert!(past.contains("is in the past"), "{past}");
    enrol(&s, "Franck @clm/franck_02159.jpg --scope live --until 2999-01-01").ok();
    let person = &events(&s.garim("people show Franck --json").ok())[0];
    assert_eq!(person["kept_in"], serde_json::json!({"live": true, "videos": false}));
    s.clip("", "in.mp4");
    let error = s.refusal("in.mp4", "--keep Franck");
    assert!(error.contains("Franck is not kept: no consent"), "{error}");
    s.garim("consent grant Franck --by Franck --how form --scope videos").ok();
    s.mosaic("in.mp4", "--keep Franck");
    let consents = events(&s.garim("consent list --json").ok());
    assert_eq!(consents.len(), 2);
    assert_eq!(consents[0]["expires_at"], "2999-01-01T00:00:00Z");
}

#[test]
fn plans_do_not_keep_who_may_withdraw_and_strangers_are_not_found() {
    let s = Scratch::new();
    s.clip("", "in.mp4");
    let error = s.refusal("in.mp4", "--keep Nobody");
    assert!(error.contains("Nobody: No such file or folder, and nobody"), "{error}");
    for command in ["people list", "people show Nobody", "consent list", "audit verify"] {
        let error = s.garim(command).error();
        assert!(error.contains("nobody was enrolled here yet"), "{command}: {error}");
    }
    assert!(!s.path("store").exists(), "a typing error makes no database");
    enrol(&s, "Franck @clm/franck_02159.jpg").ok();
    let error = s.refusal("in.mp4", "--keep Franck --plan-out plan.json");
    assert!(error.contains("a plan would still show them"), "{error}");
    let error = s.garim("analyze in.mp4 -o plan.json --keep Franck").error();
    assert!(error.contains("a plan would still show them"), "{error}");
}

#[test]
fn the_log_and_the_key_are_guarded() {
    let s = Scratch::new();
    enrol(&s, "Franck @clm/franck_02159.jpg").ok();
    let list = |key: &str| {
        let mut command = s.command(GARIM, "people list");
        Ran::new(&command.env("GARIM_SERVER_KEY", key).output().unwrap())
    };
    let wrong = list(&"ab".repeat(32)).error();
    assert!(wrong.contains("another server key"), "{wrong}");
    let malformed = list("secret").error();
    assert!(
        malformed.contains("64 hexadecimal digits") && !malformed.contains("secret"),
        "{malformed}"
    );
    let key = String::from_utf8(s.read("store/server.key")).unwrap();
    std::fs::remove_file(s.path("store/server.key")).unwrap();
    let missing = s.garim("people list").error();
    assert!(missing.contains("server.key: is missing"), "{missing}");
    list(key.trim()).ok();
}
