//! The schema, applied to data folders that already hold something.

use local::seed::seed;
use local::server::Server;
use serde_json::{Value, json};

use crate::support::{App, STATIC_KEY, own_server, root, settings};

#[tokio::test]
async fn a_data_folder_with_records_is_left_as_it_is_by_another_start() {
    let server = own_server().await;
    let app = App::at(&server.url, &[]);
    let (id, _) = app.profile("postman").await;
    let before = server.superuser().await.unwrap().find("profiles", "").await.unwrap();
    let server =
        Server::on(server.into_folder().unwrap(), "127.0.0.1", &root().join("pocketbase/migrations"), false).unwrap();
    seed(&server.superuser().await.unwrap(), &settings()).await.unwrap();
    assert_eq!(server.superuser().await.unwrap().find("profiles", "").await.unwrap(), before);
    let app = App::at(&server.url, &[]);
    let answer = app.get(&format!("/api/profiles/{id}")).bearer(&app.token("postman").await).send().await;
    assert_eq!(answer.status, 200);
}

/// A PocketBase that served the earlier service, with its profiles and their history, keeps every record and every field
/// of its own, and the API finds the people in it.
#[tokio::test]
async fn the_data_of_an_earlier_service_is_taken_over() {
    let none = tempfile::tempdir().unwrap();
    let server = Server::on(tempfile::tempdir().unwrap(), "127.0.0.1", none.path(), false).unwrap();
    let superuser = server.superuser().await.unwrap();
    let text = |name: &str| json!({ "type": "text", "name": name });
    let collection = |name: &str, mut fields: Vec<Value>| {
        fields.push(json!({ "type": "autodate", "name": "created", "onCreate": true }));
        json!({ "type": "base", "name": name, "fields": fields, "listRule": "", "viewRule": "" })
    };
    let names =
        ["name", "document_type", "document_number", "country", "verification_status", "userID", "team", "nickname"];
    let mut fields: Vec<_> = names.iter().map(|name| text(name)).collect();
    fields.push(json!({ "type": "file", "name": "document_front", "maxSelect": 1 }));
    fields.push(json!({ "type": "file", "name": "selfie", "maxSelect": 1 }));
    fields.push(json!({ "type": "email", "name": "email", "required": true }));
    let create = async |definition: Value| {
        superuser.call(reqwest::Method::POST, "/api/collections", Some(definition)).await.unwrap()
    };
    let mut profiles = collection("profiles", fields);
    profiles["indexes"] = json!(["CREATE UNIQUE INDEX idx_old ON profiles (nickname) WHERE nickname != ''"]);
    let profiles = create(profiles).await;
    let relation = json!({ "type": "relation", "name": "profile", "collectionId": profiles["id"], "maxSelect": 1 });
    let history = ["previous_status", "new_status", "notes"].map(text);
    create(collection("status_history", [vec![relation], history.to_vec()].concat())).await;
    let user = superuser
        .create(
            "profiles",
            json!({ "userID": "user-1", "team": "team_123", "name": "A", "nickname": "kept", "email": "a@b.example" }),
        )
        .await
        .unwrap();
    superuser
        .create(
            "profiles",
            json!({ "userID": "user-1", "team": "team_123", "name": "A again", "email": "a@b.example" }),
        )
        .await
        .unwrap();
    let document = json!({
        "name": "B", "document_type": "Passport", "document_number": "STRAßE-1", "country": "sg", "team": "team_123",
        "verification_status": "verified", "email": "a@b.example",
    });
    let document = superuser.create("profiles", document).await.unwrap();
    superuser.create("profiles", json!({ "name": "nothing else", "email": "a@b.example" })).await.unwrap();
    let entry = json!({ "profile": user["id"], "new_status": "pending_review", "notes": "n" });
    superuser.create("status_history", entry).await.unwrap();

    let server =
        Server::on(server.into_folder().unwrap(), "127.0.0.1", &root().join("pocketbase/migrations"), false).unwrap();
    seed(&server.superuser().await.unwrap(), &settings()).await.unwrap();
    let app = App::at(&server.url, &[]);
    let token = app.token("postman").await;
    let again = app.post("/api/profiles/create").bearer(&token).json(&json!({ "userID": "user-1" })).send().await;
    assert_eq!((again.status, json!(again.text("/id"))), (200, user["id"].clone()), "the oldest of the two");
    let body = json!({ "name": "B", "document_type": "passport", "document_number": "strasse-1", "nationality": "SG" });
    let again = app.post("/api/profiles/create").key(STATIC_KEY).json(&body).send().await;
    assert_eq!((again.status, json!(again.text("/id"))), (200, document["id"].clone()));
    let answer = app.get(&format!("/api/profiles/{}", user["id"].as_str().unwrap())).bearer(&token).send().await;
    assert_eq!(answer.body["data"]["status"], "pending_review");
    assert_eq!(answer.body["data"]["verification_status"], "unverified");

    let superuser = server.superuser().await.unwrap();
    let found = superuser.find("profiles", "").await.unwrap();
    let is_seeded =
        |id: &Value| [local::seed::SPECIMEN_PROFILE, local::seed::REDACTED_PROFILE].map(Value::from).contains(id);
    assert_eq!(found.iter().filter(|profile| !is_seeded(&profile["id"])).count(), 4);
    assert!(found.iter().any(|profile| profile["nickname"] == "kept"));
    let unauthenticated: Value =
        reqwest::get(format!("{}/api/collections/profiles/records", server.url)).await.unwrap().json().await.unwrap();
    assert_eq!(unauthenticated["items"], json!([]), "the rules make nothing public");
    let profiles = superuser.call(reqwest::Method::GET, "/api/collections/profiles", None).await.unwrap();
    let fields = profiles["fields"].as_array().unwrap();
    for name in ["document_front", "selfie"] {
        assert_eq!(fields.iter().find(|field| field["name"] == name).unwrap()["protected"], true, "{name}");
    }
}

/// What the API could not work with stops PocketBase at its start, and says what it is.
#[tokio::test]
async fn an_older_collection_that_cannot_be_taken_over_is_named() {
    let text = |name: &str| json!({ "type": "text", "name": name });
    for (name, field, records, complaint) in [
        (
            "profiles",
            json!({ "type": "number", "name": "document_number" }),
            vec![],
            "profiles.document_number is of type number",
        ),
        (
            "profiles",
            json!({ "type": "file", "name": "facial_photo", "maxSelect": 5 }),
            vec![],
            "profiles.facial_photo holds several",
        ),
        (
            "settings",
            text("key"),
            vec![json!({ "key": "a" }), json!({ "key": "a" })],
            "settings has more than one record with key",
        ),
    ] {
        let none = tempfile::tempdir().unwrap();
        let server = Server::on(tempfile::tempdir().unwrap(), "127.0.0.1", none.path(), false).unwrap();
        let superuser = server.superuser().await.unwrap();
        let old = json!({ "type": "base", "name": name, "fields": [field] });
        superuser.call(reqwest::Method::POST, "/api/collections", Some(old)).await.unwrap();
        for record in records {
            superuser.create(name, record).await.unwrap();
        }
        let refused =
            Server::on(server.into_folder().unwrap(), "127.0.0.1", &root().join("pocketbase/migrations"), false);
        let said = refused.err().expect("the migration fails").to_string();
        assert!(said.contains(complaint), "{said}");
    }
}
