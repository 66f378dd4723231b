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
    let server = Server::on(server.into_folder().unwrap(), "127.0.0.1", &root().join("migrations")).unwrap();
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
    let server = Server::on(tempfile::tempdir().unwrap(), "127.0.0.1", none.path()).unwrap();
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
    let create = async |definition: Value| {
        superuser.call(reqwest::Method::POST, "/api/collections", Some(definition)).await.unwrap()
    };
    let profiles = create(collection("profiles", fields)).await;
    let relation = json!({ "type": "relation", "name": "profile", "collectionId": profiles["id"], "maxSelect": 1 });
    let history = ["previous_status", "new_status", "notes"].map(text);
    create(collection("status_history", [vec![relation], history.to_vec()].concat())).await;
    let user = superuser
        .create("profiles", json!({ "userID": "user-1", "team": "team_123", "name": "A", "nickname": "kept" }))
        .await
        .unwrap();
    superuser.create("profiles", json!({ "userID": "user-1", "team": "team_123", "name": "A again" })).await.unwrap();
    let document = json!({ "name": "B", "document_type": "Passport", "document_number": "B1", "country": "sg", "team": "team_123", "verification_status": "verified" });
    let document = superuser.create("profiles", document).await.unwrap();
    superuser.create("profiles", json!({ "name": "nothing else" })).await.unwrap();
    let entry = json!({ "profile": user["id"], "new_status": "pending_review", "notes": "n" });
    superuser.create("status_history", entry).await.unwrap();

    let server = Server::on(server.into_folder().unwrap(), "127.0.0.1", &root().join("migrations")).unwrap();
    seed(&server.superuser().await.unwrap(), &settings()).await.unwrap();
    let app = App::at(&server.url, &[]);
    let token = app.token("postman").await;
    let again = app.post("/api/profiles/create").bearer(&token).json(&json!({ "userID": "user-1" })).send().await;
    assert_eq!((again.status, json!(again.text("/id"))), (200, user["id"].clone()), "the oldest of the two");
    let body = json!({ "name": "B", "document_type": "passport", "document_number": "b1", "nationality": "SG" });
    let again = app.post("/api/profiles/create").key(STATIC_KEY).json(&body).send().await;
    assert_eq!((again.status, json!(again.text("/id"))), (200, document["id"].clone()));
    let answer = app.get(&format!("/api/profiles/{}", user["id"].as_str().unwrap())).bearer(&token).send().await;
    assert_eq!(answer.body["data"]["status"], "pending_review");
    assert_eq!(answer.body["data"]["verification_status"], "unverified");

    let superuser = server.superuser().await.unwrap();
    let found = superuser.find("profiles", "").await.unwrap();
    assert_eq!(found.iter().filter(|profile| profile["id"] != local::seed::SPECIMEN_PROFILE).count(), 4);
    assert!(found.iter().any(|profile| profile["nickname"] == "kept"));
    let stranger: Value =
        reqwest::get(format!("{}/api/collections/profiles/records", server.url)).await.unwrap().json().await.unwrap();
    assert_eq!(stranger["items"], json!([]), "what was public is no more");
    let profiles = superuser.call(reqwest::Method::GET, "/api/collections/profiles", None).await.unwrap();
    let front = profiles["fields"].as_array().unwrap().iter().find(|field| field["name"] == "document_front").unwrap();
    assert_eq!(front["protected"], true);
}
