//! `make partner`: keys that are shown once, replaced and revoked.

use admin::partner::{Action, Key, LinkMode, run};
use serde_json::{Value, json};

const POLICY: webhooks::WebhookPolicy = webhooks::WebhookPolicy { allow_private: false };

use crate::support::{App, shared, unique};

/// The status of a request with the key, answered by a process with an empty cache.
async fn create(key: &str) -> u16 {
    let app = App::new().await;
    let body = json!({ "userID": unique("user") });
    app.post("/api/profiles/create").key(key).json(&body).send().await.status
}

fn keys(said: &str) -> Vec<&str> {
    // The example of a signed link repeats the publishable key.
    let keys = said.split("\n\n").next().unwrap_or_default().split_whitespace();
    keys.filter(|word| word.starts_with("sk_") || word.starts_with("pk_")).collect()
}

#[tokio::test]
async fn a_partners_keys_work_until_they_are_rotated_or_revoked() {
    let superuser = shared().await.superuser().await.unwrap();
    let name = unique("Acme \"Ltd\"");
    let say = async |action: Action| run(&superuser, POLICY, &action).await.map_err(|error| error.to_string());
    let add = || Action::Add { name: name.clone(), team: Some("team_9".parse().unwrap()) };
    let said = say(add()).await.unwrap();
    let [secret, publishable] = keys(&said)[..] else { panic!("{said}") };
    assert!(
        secret.starts_with("sk_") && publishable.starts_with("pk_") && secret.len() == 51 && publishable.len() == 51
    );
    assert_eq!((create(secret).await, create(publishable).await), (201, 403));
    assert!(say(add()).await.is_err(), "one of that name is enough");
    let stored = Value::from(superuser.find("partners", "team=\"team_9\"").await.unwrap()).to_string();
    assert!(!stored.contains(secret) && !stored.contains(publishable), "only hashes are kept");

    // Links are signed, and open the page in no other way until the operator says so.
    let app = App::new().await;
    let user = unique("user");
    let sign = async |key: &str| {
        let (name, user) = (name.clone(), user.parse().unwrap());
        let api = "http://127.0.0.1:3000".to_owned();
        let link = say(Action::SignLink { name, user, minutes: 5, api, key: key.to_owned() }).await.unwrap();
        link.strip_prefix("http://127.0.0.1:3000").unwrap().to_owned()
    };
    let signed = sign(publishable).await;
    assert_eq!(app.get(&signed).send().await.status, 303, "{signed}");
    let open = format!("/verif/?api_key={publishable}&user_identifier={user}");
    assert_eq!(app.get(&open).send().await.status, 403);
    say(Action::Rotate { name: name.clone(), key: Key::Link }).await.unwrap();
    let app = App::new().await;
    assert_eq!(app.get(&signed).send().await.status, 403, "signed with the old secret");
    assert_eq!(app.get(&sign(publishable).await).send().await.status, 303);
    say(Action::Links { name: name.clone(), mode: LinkMode::Open }).await.unwrap();
    assert_eq!(App::new().await.get(&open).send().await.status, 303);
    say(Action::Budgets { name: name.clone(), checks: None, people: Some(1), upload_megabytes: None }).await.unwrap();
    let stranger = format!("/verif/?api_key={publishable}&user_identifier={}", unique("user"));
    assert_eq!(App::new().await.get(&stranger).send().await.status, 429);

    let said = say(Action::Rotate { name: name.clone(), key: Key::Secret }).await.unwrap();
    let new = keys(&said)[0];
    assert_eq!((create(secret).await, create(new).await, create(publishable).await), (401, 201, 403));
    let said = say(Action::Rotate { name: name.clone(), key: Key::Publishable }).await.unwrap();
    assert_eq!((create(publishable).await, create(keys(&said)[0]).await), (401, 403));

    say(Action::Revoke { name: name.clone() }).await.unwrap();
    assert_eq!(create(new).await, 401);
    assert!(say(Action::List).await.unwrap().contains(&format!("{name}  team \"team_9\"  revoked")));
    for action in
        [Action::Revoke { name: "Nobody".to_owned() }, Action::Rotate { name: "Nobody".to_owned(), key: Key::Secret }]
    {
        assert!(say(action).await.unwrap_err().contains("no partner Nobody"));
    }
}
