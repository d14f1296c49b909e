//! Webhooks and what is on its way to them, on real databases.

use domain::WebhookId;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use store::{Answer, Delivery, DeliveryReport, Error, Format, Kind, Store};

use crate::support::{LEASE, USER, at, claim, enqueue, new_job, on_both};

const ADDRESS: &str = "https://hooks.example.org/garim";

async fn hook(store: &Store, types: &[&str]) -> WebhookId {
    let types: Vec<String> = types.iter().map(|t| (*t).to_owned()).collect();
    store.add_webhook(USER, ADDRESS, &types, Format::Cloudevents, at(0)).await.unwrap().0
}

async fn next(store: &Store, now: Timestamp) -> Option<Delivery> {
    store.claim_delivery(LEASE, now).await.unwrap()
}

async fn reports(store: &Store, hook: WebhookId) -> Vec<DeliveryReport> {
    store.deliveries(USER, hook, None, None, 100).await.unwrap()
}

#[tokio::test]
async fn an_event_is_delivered_once_with_a_secret_that_only_its_maker_saw() {
    on_both(async |db| {
        let store = &db.store;
        let made = store.add_webhook(USER, ADDRESS, &[], Format::Cloudevents, at(0)).await;
        let (hook, secret) = made.unwrap();
        assert!(secret.text().starts_with("whsec_"));
        assert_eq!(secret.key().unwrap().len(), 32);
        enqueue(store, new_job(Kind::Mosaic)).await;
        let delivery = next(&db.another().await, at(1)).await.unwrap();
        assert_eq!(delivery.secret.text(), secret.text());
        assert_eq!((delivery.webhook.id, delivery.webhook.url.as_str()), (hook, ADDRESS));
        assert_eq!((delivery.attempt, delivery.event.kind.as_str()), (1, "job.queued"));
        assert!(next(store, at(1)).await.is_none(), "somebody has it");
        store.delivered(delivery.id, 1, &Answer::Taken(204), at(2)).await.unwrap();
        let report = reports(store, hook).await.remove(0);
        assert_eq!((report.state.as_str(), report.status), ("delivered", Some(204)));
        assert!(next(store, at(1_000_000)).await.is_none());
        let plain = format!("SELECT COUNT(*) FROM webhooks WHERE url = '{}'", secret.text());
        assert_eq!(db.number(&plain).await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_target_that_does_not_answer_holds_up_its_own_messages_only() {
    on_both(async |db| {
        let store = &db.store;
        let silent = hook(store, &["job.queued"]).await;
        for _ in 0..6 {
            enqueue(store, new_job(Kind::Mosaic)).await;
        }
        let mut taken = Vec::new();
        while let Some(delivery) = next(store, at(1)).await {
            assert_eq!(delivery.webhook.id, silent);
            taken.push(delivery);
        }
        assert_eq!(taken.len(), 4);
        let lively = hook(store, &["job.queued"]).await;
        enqueue(store, new_job(Kind::Mosaic)).await;
        assert_eq!(next(store, at(1)).await.unwrap().webhook.id, lively);
        assert!(next(store, at(1)).await.is_none());
        let refused = Answer::Refused(None, "timed out".to_owned());
        store.delivered(taken[0].id, 1, &refused, at(2)).await.unwrap();
        assert_eq!(next(store, at(2)).await.unwrap().webhook.id, silent, "one more may go");
    })
    .await;
}

#[tokio::test]
async fn a_target_that_refuses_is_asked_less_and_less_often_for_a_day() {
    on_both(async |db| {
        let store = &db.store;
        let hook = hook(store, &[]).await;
        enqueue(store, new_job(Kind::Mosaic)).await;
        let refused = Answer::Refused(Some(503), "busy".to_owned());
        let (mut now, mut waits) = (at(0), Vec::new());
        while let Some(delivery) = next(store, now).await {
            store.delivered(delivery.id, delivery.attempt, &refused, now).await.unwrap();
            let report = reports(store, hook).await.remove(0);
            let Some(then) = report.next_at else { break };
            assert!(next(store, then - SignedDuration::from_millis(1)).await.is_none());
            waits.push(then.duration_since(now));
            now = then;
        }
        assert!(waits.is_sorted() && waits[0] == SignedDuration::from_secs(5), "{waits:?}");
        let hours = now.duration_since(at(0)).as_hours();
        assert!((20..=26).contains(&hours), "{hours} hours");
        let report = reports(store, hook).await.remove(0);
        assert_eq!((report.state.as_str(), report.attempt), ("dead", 10));
        assert_eq!((report.status, report.error.as_deref()), (Some(503), Some("busy")));

        let other = store.redeliver("other", hook, report.id, now).await;
        assert!(matches!(other, Err(Error::NotFound { .. })));
        store.redeliver(USER, hook, report.id, now).await.unwrap();
        assert!(store.redeliver(USER, hook, report.id, now).await.is_err(), "it is under way");
        let delivery = next(store, now).await.unwrap();
        assert_eq!(delivery.attempt, 1);
        store.delivered(delivery.id, 1, &Answer::Taken(200), now).await.unwrap();
        assert_eq!(reports(store, hook).await[0].state, "delivered");
    })
    .await;
}

#[tokio::test]
async fn a_delivery_whose_sender_died_is_taken_over() {
    on_both(async |db| {
        let store = &db.store;
        let hook = hook(store, &[]).await;
        enqueue(store, new_job(Kind::Mosaic)).await;
        let old = next(store, at(0)).await.unwrap();
        assert!(next(store, at(30)).await.is_none());
        let new = next(store, at(31)).await.unwrap();
        assert_eq!((new.id, new.attempt), (old.id, 2));
        let late = Answer::Refused(None, "time-out".to_owned());
        store.delivered(old.id, old.attempt, &late, at(32)).await.unwrap();
        assert_eq!(reports(store, hook).await[0].state, "sending");
        store.delivered(new.id, new.attempt, &Answer::Taken(200), at(33)).await.unwrap();
        assert_eq!(reports(store, hook).await[0].state, "delivered");
    })
    .await;
}

#[tokio::test]
async fn a_webhook_is_told_what_it_asked_for() {
    on_both(async |db| {
        let store = &db.store;
        let ends = hook(store, &["job.done", "job.failed"]).await;
        let all = hook(store, &[]).await;
        let added = store.add_webhook(USER, ADDRESS, &[], Format::Sns, at(0)).await;
        let searches = added.unwrap().0;
        let other = store.add_webhook("other", ADDRESS, &[], Format::Cloudevents, at(0)).await;
        let other = other.unwrap().0;
        for kind in [Kind::Mosaic, Kind::Search] {
            enqueue(store, new_job(kind)).await;
            store.complete(&claim(store, 0).await, &json!({}), at(1)).await.unwrap();
        }
        let kinds = async |hook| -> Vec<String> {
            let mut reports = reports(store, hook).await;
            reports.sort_by_key(|r| r.event);
            reports.into_iter().map(|r| r.kind).collect()
        };
        assert_eq!(kinds(ends).await, ["job.done", "job.done"]);
        assert_eq!(kinds(all).await.len(), 6);
        assert_eq!(kinds(searches).await, ["job.done"]);
        assert_eq!(store.deliveries("other", other, None, None, 9).await.unwrap(), []);
        assert_eq!(store.deliveries("other", all, None, None, 9).await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn nothing_is_left_of_a_webhook_that_was_removed() {
    on_both(async |db| {
        let store = &db.store;
        let (gone, kept) = (hook(store, &[]).await, hook(store, &[]).await);
        enqueue(store, new_job(Kind::Mosaic)).await;
        let missing = store.remove_webhook("other", gone).await;
        assert!(matches!(missing, Err(Error::NotFound { .. })));
        store.remove_webhook(USER, gone).await.unwrap();
        assert!(store.remove_webhook(USER, gone).await.is_err());
        let rows = async |table: &str, column: &str| {
            db.number(&format!("SELECT COUNT(*) FROM {table} WHERE {column} = '{gone}'")).await
        };
        assert_eq!(rows("webhooks", "id").await + rows("deliveries", "webhook").await, 0);
        enqueue(store, new_job(Kind::Mosaic)).await;
        assert_eq!(rows("deliveries", "webhook").await, 0);
        assert_eq!(reports(store, kept).await.len(), 2);
        let ids: Vec<_> = store.webhooks(USER).await.unwrap().into_iter().map(|h| h.id).collect();
        assert_eq!(ids, [kept]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gets_more_webhooks_than_allowed_by_asking_at_once() {
    on_both(async |db| {
        let stores = [db.store.clone(), db.another().await];
        let tasks: Vec<_> = (0..30)
            .map(|i| {
                let store = stores[i % 2].clone();
                tokio::spawn(async move {
                    store.add_webhook(USER, ADDRESS, &[], Format::Sns, at(0)).await.is_ok()
                })
            })
            .collect();
        let mut added = 0;
        for task in tasks {
            added += i32::from(task.await.unwrap());
        }
        assert_eq!(added, 20);
        assert_eq!(db.store.webhooks(USER).await.unwrap().len(), 20);
    })
    .await;
}

#[tokio::test]
async fn addresses_that_are_none_or_hold_secrets_are_refused() {
    on_both(async |db| {
        let long = format!("https://example.org/{}", "a".repeat(2000));
        for address in [
            "",
            "example.org",
            "ftp://example.org/",
            "http://me@example.org/",
            "http://:pw@e.org/",
            &long,
        ] {
            let added = db.store.add_webhook(USER, address, &[], Format::Sns, at(0)).await;
            assert!(matches!(added, Err(Error::Invalid { .. })), "{address}");
        }
        let types = ["job done".to_owned()];
        let added = db.store.add_webhook(USER, ADDRESS, &types, Format::Sns, at(0)).await;
        assert!(matches!(added, Err(Error::Invalid { .. })));
    })
    .await;
}
