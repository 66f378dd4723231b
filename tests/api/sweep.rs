//! The sweep of the outbox: lost messages, outages, slow endpoints, many partners, and its metrics.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use serde_json::json;

use crate::support::{App, FormBody, Receiver, Reply, SECRET_KEY, Storage, eventually, photo, selfie, unique};
use crate::webhooks::Bench;

#[tokio::test]
async fn the_sweep_delivers_webhooks_whose_messages_are_lost() {
    let bench = Bench::new(&["check.completed", "profile.status_changed"]).await;
    for _ in 0..3 {
        bench.check(&unique("user")).await;
    }
    assert_eq!(bench.queue.take().await.len(), 6);
    assert!(bench.receiver.received().is_empty());
    bench.app.sweep().await;
    assert_eq!(bench.receiver.received().len(), 6);
    assert_eq!(bench.app.sweep().await, (0, 0));
    // And without any queue.
    let app = App::at(
        &bench.server.url,
        &[&Storage::new().await.variables()[..], &[("ALLOW_PRIVATE_WEBHOOKS", "true")]].concat(),
    );
    let form =
        FormBody::new().text("user_id", &unique("user")).file("selfie_video", &selfie(&json!({ "person": "anna" })));
    let form = form.file("id_photo", &photo(&json!({ "person": "anna" })));
    assert_eq!(app.post("/verif/submit").key(SECRET_KEY).form(form).send().await.status, 200);
    app.sweep().await;
    assert_eq!(bench.receiver.received().len(), 2);
}

/// The queue shows a message again after 6 minutes and keeps it for a day; the sweep runs every minute.
#[tokio::test]
async fn nothing_queued_is_lost_while_pocketbase_is_away_for_an_hour() {
    let mut bench = Bench::new(&[]).await;
    for _ in 0..3 {
        bench.check(&unique("user")).await;
    }
    let messages = bench.queue.take().await;
    bench.receiver.reply([Reply::Status(503)]);
    assert_eq!(bench.app.bring(&messages[..1]).await, Vec::<String>::new());
    assert_eq!(bench.receiver.received().len(), 1, "it failed, and its next attempt falls into the hour");
    bench.wait().await;
    let _ = bench.app.get("/api/webhooks/deliveries").key(&bench.key).send().await;

    bench.server.down();
    for minute in 0..60 {
        if minute % 6 == 0 {
            assert_eq!(bench.app.bring(&messages[1..]).await, messages[1..], "SQS keeps them");
        }
        assert!(bench.app.try_sweep().await.is_err(), "the alarm on a failing sweep is raised");
    }
    let asked = bench.app.get("/api/webhooks/deliveries").key(&bench.key).send().await;
    assert_eq!((asked.status, asked.header("retry-after")), (503, "5"));

    bench.server.up().unwrap();
    bench.server.superuser().await.unwrap();
    assert_eq!(bench.app.bring(&messages[1..]).await, Vec::<String>::new());
    bench.app.sweep().await;
    let ids: BTreeSet<_> =
        bench.receiver.received().iter().map(|webhook| webhook.header("webhook-id").to_owned()).collect();
    assert_eq!(ids.len(), 3);
    assert!(bench.deliveries().await.iter().all(|delivery| delivery["state"] == "delivered"));
}

#[tokio::test]
async fn many_webhooks_to_a_silent_endpoint_do_not_delay_those_of_another_partner() {
    let bench = Bench::new(&[]).await;
    bench.check(&unique("user")).await;
    let webhook = bench.deliveries().await.remove(0);
    let silent = Receiver::new().await;
    silent.reply(std::iter::repeat_n(Reply::Silence, 600));
    let partner = json!({ "name": unique("slow"), "active": true, "webhook_url": silent.url });
    let partner = bench.superuser.create("partners", partner).await.unwrap()["id"].clone();
    for batch in 0..6 {
        let more = (0..100).map(|number| {
            json!({
                "method": "POST", "url": "/api/collections/webhook_deliveries/records",
                "body": {
                    "partner": partner, "stream": format!("{batch}-{number}"), "event": "check.completed", "payload": {},
                    "state": "pending", "next_attempt": "2026-01-01 00:00:00.000Z",
                },
            })
        });
        let requests = json!({ "requests": more.collect::<Vec<_>>() });
        bench.superuser.call(reqwest::Method::POST, "/api/batch", Some(requests)).await.unwrap();
    }
    tokio::select! {
        _ = bench.app.sweep() => panic!("the sweep waits for the silent endpoint"),
        () = bench.receiver.arrived() => {}
    }
    let received = bench.receiver.received();
    assert_eq!(received[0].header("webhook-id"), format!("msg_{}", webhook["id"].as_str().unwrap()));
    assert!(silent.received().len() <= 4, "at most four at once to one partner");
}

#[tokio::test]
async fn the_sweep_measures_the_outbox() {
    let bench = Bench::with(&[], &[("ALLOW_PRIVATE_WEBHOOKS", "true"), ("PB_AUTH_TOKEN", "")]).await;
    let (_guard, snapshotter) = crate::metrics::record();
    bench.app.sweep().await;
    let measured = || {
        let gauges = crate::metrics::gauges(&snapshotter);
        ["PendingWebhooks", "OldestWebhook", "FailedWebhooks", "DisabledEndpoints"].map(|name| gauges[name])
    };
    assert_eq!(measured(), [0.0, 0.0, 0.0, 0.0]);
    bench.check(&unique("user")).await;
    let webhook = bench.deliveries().await.remove(0);
    // Another process delivers it, which it has not done for an hour.
    let lease = json!({
        "lease": "another", "leased_until": "2126-01-01 00:00:00.000Z",
        "next_attempt": shared::pocketbase::timestamp(Utc::now() - TimeDelta::hours(1)),
    });
    bench.change("webhook_deliveries", &webhook, lease).await;
    bench.app.sweep().await;
    let [pending, oldest, ..] = measured();
    assert!(pending == 1.0 && (3_600.0..7_200.0).contains(&oldest), "{pending} {oldest}");
    bench.change("webhook_deliveries", &webhook, json!({ "state": "failed" })).await;
    bench.change("partners", &bench.record().await, json!({ "webhook_disabled": "2026-01-01 00:00:00.000Z" })).await;
    bench.app.sweep().await;
    assert_eq!(measured(), [0.0, 0.0, 1.0, 1.0]);
}

#[tokio::test]
async fn webhooks_that_wait_for_an_earlier_one_are_not_due() {
    let bench = Bench::new(&[]).await;
    let (_guard, snapshotter) = crate::metrics::record();
    bench.check(&unique("user")).await;
    let first = bench.deliveries().await.remove(0);
    // The next attempt of the first one is far away, and the second one of its stream has been due for an hour.
    bench.change("webhook_deliveries", &first, json!({ "next_attempt": "2126-01-01 00:00:00.000Z" })).await;
    let due = shared::pocketbase::timestamp(Utc::now() - TimeDelta::hours(1));
    let second = json!({
        "partner": first["partner"], "stream": first["stream"], "event": "check.completed", "payload": {},
        "state": "pending", "next_attempt": due,
    });
    bench.superuser.create("webhook_deliveries", second).await.unwrap();
    assert_eq!(bench.app.sweep().await, (0, 0));
    let gauges = crate::metrics::gauges(&snapshotter);
    assert_eq!((gauges["PendingWebhooks"], gauges["OldestWebhook"]), (2.0, 0.0));
}

#[tokio::test]
async fn a_sweep_ends_with_a_slow_endpoint_after_its_first_deliveries() {
    let bench = Bench::new(&[]).await;
    for _ in 0..6 {
        bench.check(&unique("user")).await;
    }
    bench.queue.take().await;
    bench.receiver.reply(std::iter::repeat_n(Reply::Silence, 6));
    let time = async {
        bench.receiver.arrived().await;
        // Until the endpoint is slow, and has not answered in time.
        eventually("four deliveries at once", async || (bench.receiver.count() == 4).then_some(())).await;
        bench.clock.advance(Duration::from_secs(10)).await;
    };
    let (swept, ()) = tokio::join!(bench.app.sweep(), time);
    assert_eq!((swept, bench.receiver.received().len()), ((4, 0), 4), "the others wait for the next sweep");
}
