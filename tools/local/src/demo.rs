//! `local demo`: calls the API of the running stack as a partner's backend and an applicant's browser do.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::multipart::{Form, Part};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use shared::env::Env;

use crate::Error;
use crate::pocketbase::Superuser;
use crate::settings::Addresses;

/// Makes the calls and prints each answer, and at the end the record in PocketBase.
///
/// # Errors
/// When an answer has not the expected status.
pub async fn run(addresses: &Addresses, superuser: &Superuser, specimens: &Path, env: &Env) -> Result<(), Error> {
    let http =
        Client::builder().timeout(Duration::from_secs(60)).redirect(reqwest::redirect::Policy::none()).build()?;
    let demo = Demo { http, addresses, specimens };
    let key = env.get("VALID_API_KEYS").and_then(|keys| keys.split(',').next()).unwrap_or_default();
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let user = format!("demo-{seconds}");

    demo.say("The partner's backend gets a machine token.");
    let credentials = json!({
        "client_id": env.require("JWT_CLIENT_ID")?,
        "client_secret": env.require("JWT_CLIENT_SECRET")?,
    });
    let request = demo.request(Method::POST, "/api/auth/token").json(&credentials);
    let token = text(&demo.expect(200, request).await?, "/access_token")?;
    demo.say("Is the service healthy?");
    demo.expect(200, demo.request(Method::GET, "/").bearer_auth(&token)).await?;

    demo.say("It creates a profile for one of its users, and creating it again finds the same one.");
    let person = json!({ "userID": user, "name": "Anna Specimen", "documentType": "passport", "country": "UTO", "securityLevel": "high" });
    let create = || demo.request(Method::POST, "/api/profiles/create").bearer_auth(&token).json(&person);
    let created = demo.expect(201, create()).await?;
    demo.expect(200, create()).await?;
    let (id, flow) = (text(&created, "/id")?, text(&created, "/flow_token")?);
    let profile = format!("/api/profiles/{id}");

    demo.say("The older contract: an API key, one profile per document.");
    let document = json!({ "name": "Jane Doe", "document_type": "passport", "document_number": format!("A{seconds}"), "nationality": "SG" });
    demo.expect(201, demo.request(Method::POST, "/api/profiles/create").header("x-api-key", key).json(&document))
        .await?;

    demo.say("The applicant opens the link. Its flow token is good for this one profile.");
    demo.expect(200, demo.request(Method::GET, &profile).bearer_auth(&flow)).await?;
    demo.say("The applicant sends photos of the passport and of themselves.");
    let photos = Form::new()
        .part("document_front", demo.image("passport.jpg").await?)
        .part("facial_photo", demo.image("portrait.jpg").await?);
    demo.expect(200, demo.request(Method::PATCH, &profile).bearer_auth(&flow).multipart(photos)).await?;
    demo.say("They cannot decide on their own verification.");
    let verdict = Form::new().text("verification_status", "verified");
    demo.expect(403, demo.request(Method::PATCH, &profile).bearer_auth(&flow).multipart(verdict)).await?;
    demo.say("A model reads the passport, and the API checks the fields.");
    let hints =
        Form::new().part("document_front", demo.image("passport.jpg").await?).text("full_name_hint", "Anna Eriksson");
    let path = "/api/ollama/document-analysis";
    let analysis = demo.expect(200, demo.request(Method::POST, path).bearer_auth(&flow).multipart(hints)).await?;
    demo.say("Their browser gets a Face Liveness session, and AWS credentials for that only.");
    let request = demo.request(Method::POST, "/api/face-liveness/session").bearer_auth(&flow);
    let session = text(&demo.expect(200, request).await?, "/sessionId")?;
    demo.expect(200, demo.request(Method::GET, "/api/aws/credentials").bearer_auth(&flow)).await?;
    demo.look_into_the_camera(&session).await?;
    demo.say("The result of the session. It is stored when it is first read.");
    let path = format!("/api/face-liveness/results/{session}");
    let result = demo.expect(200, demo.request(Method::GET, &path).bearer_auth(&flow)).await?;
    let score = result.pointer("/data/confidenceScore").map(Value::to_string).unwrap_or_default();
    demo.say("A score that AWS did not give is rejected.");
    let verification = |score: &str| {
        let form = Form::new()
            .text("liveness_session_id", session.clone())
            .text("liveness_confidence", score.to_owned())
            .text("liveness_status", "live")
            .text("document_type", "passport")
            .text("fingerprint", r#"{"event_id": "good.1", "visitor_id": "SpecimenVisitor00001"}"#);
        let read = analysis.pointer("/data/verification_history_fields").and_then(Value::as_object);
        read.into_iter()
            .flatten()
            .fold(form, |form, (name, value)| form.text(name.clone(), value.as_str().unwrap_or_default().to_owned()))
    };
    let path = format!("/api/verification_history/{id}");
    let request = || demo.request(Method::POST, &path).bearer_auth(&flow);
    demo.expect(409, request().multipart(verification("99.9"))).await?;
    demo.say("The verification is recorded with AWS's result. Missing files are copied from the profile.");
    let recorded = demo.expect(201, request().multipart(verification(&score))).await?;
    demo.say("The status becomes pending.");
    let history = format!("/api/status_history/{id}");
    let pending = json!({
        "previous_status": "unverified",
        "new_status": "pending",
        "notes": "Verification submitted",
        "verification": text(&recorded, "/data/id")?,
    });
    demo.expect(201, demo.request(Method::POST, &history).bearer_auth(&flow).json(&pending)).await?;

    demo.say("The partner's backend sends both sides of an identity card, with its API key.");
    let card = Form::new()
        .part("document_front", demo.image("card-front.jpg").await?)
        .part("document_back", demo.image("card-back.jpg").await?);
    demo.expect(200, demo.request(Method::PATCH, &profile).header("x-api-key", key).multipart(card)).await?;
    demo.say("The partner decides, and records it in the status history.");
    let decision = Form::new().text("verification_status", "verified");
    demo.expect(200, demo.request(Method::PATCH, &profile).bearer_auth(&token).multipart(decision)).await?;
    let verified = json!({ "previous_status": "pending", "new_status": "verified", "notes": "Checked by hand" });
    demo.expect(201, demo.request(Method::POST, &history).bearer_auth(&token).json(&verified)).await?;
    demo.say("The partner reads the outcome.");
    demo.expect(200, demo.request(Method::GET, &profile).bearer_auth(&token)).await?;
    demo.say("From now on the applicant can change nothing.");
    let late = Form::new().part("facial_photo", demo.image("portrait.jpg").await?);
    demo.expect(409, demo.request(Method::PATCH, &profile).bearer_auth(&flow).multipart(late)).await?;

    demo.say("The record in PocketBase.");
    let record = superuser.find("profiles", &format!("id={}", Value::from(id.as_str()))).await?;
    println!("{}", pretty(&Value::from(record)));
    for collection in ["status_history", "verification_history"] {
        println!(
            "{collection}:\n{}",
            pretty(&Value::from(superuser.find(collection, &format!("profile=\"{id}\"")).await?))
        );
    }
    demo.say("The hosted page: a link with the partner's publishable key redirects to one with a flow token.");
    let publishable = env.require("DEV_PARTNER_PUBLISHABLE_KEY")?;
    let link = format!("/verif/?api_key={publishable}&user_identifier={user}-hosted");
    let token = demo.open(&link).await?;
    demo.say("The page uploads the person's video to the bucket, since it is too large for an API request.");
    let video = demo.upload(&token, "selfie_video", "video/webm", "selfie.webm").await?;
    demo.say("The check compares it with the photo of a document, which is small enough for the request.");
    let form = Form::new().text("selfie_video", video).part("id_photo", demo.image("id-same.jpg").await?);
    let request = demo.request(Method::POST, "/verif/submit").bearer_auth(&token).multipart(form);
    let check_id = text(&demo.expect(200, request).await?, "/check_id")?;
    demo.say("The partner receives a webhook and verifies its signature.");
    demo.wait_for_webhook(&check_id).await?;
    demo.say("The partner lists its deliveries.");
    let path = format!("/api/webhooks/deliveries?check_id={check_id}");
    let secret = env.require("DEV_PARTNER_SECRET_KEY")?;
    demo.expect(200, demo.request(Method::GET, &path).header("x-api-key", secret)).await?;
    println!("\nThe webhook of check {check_id} was received, and its signature is good.");
    Ok(())
}

struct Demo<'a> {
    http: Client,
    addresses: &'a Addresses,
    specimens: &'a Path,
}

impl Demo<'_> {
    fn say(&self, what: &str) {
        println!("\n# {what}");
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        println!("{method} {path}");
        self.http.request(method, format!("{}{path}", self.addresses.api))
    }

    async fn expect(&self, status: u16, request: RequestBuilder) -> Result<Value, Error> {
        let response = request.send().await.map_err(|error| {
            Error::new(if error.is_connect() {
                format!("nothing answers at {}: is `make run` running?", self.addresses.api)
            } else {
                error.to_string()
            })
        })?;
        let got = response.status();
        let body: Value = response.json().await?;
        println!("{got}\n{}", pretty(&body));
        if got.as_u16() == status { Ok(body) } else { Err(Error::new(format!("expected {status}, got {got}"))) }
    }

    /// Sets the outcome of the session in the stand-in, in place of a person before a camera.
    async fn look_into_the_camera(&self, session: &str) -> Result<(), Error> {
        self.say("The person looks into the camera; here the stand-in is told the result.");
        let url = format!("{}/simulate/face-liveness/{session}", self.addresses.standins);
        println!("PUT {url}  live");
        let answer = self.http.put(url).body("live").send().await?;
        if answer.status().is_success() {
            return Ok(());
        }
        Err(Error::new(
            "the stand-in does not know this session: is AWS a real one, by .env? Then a browser has to do this",
        ))
    }

    /// Opens a link to the hosted page; returns the token in the redirect.
    async fn open(&self, link: &str) -> Result<String, Error> {
        let response = self.request(Method::GET, link).send().await?;
        println!("{}", response.status());
        let location =
            response.headers().get("location").and_then(|location| location.to_str().ok()).unwrap_or_default();
        let token = location.strip_prefix("/verif/?token=").ok_or_else(|| Error::new("no redirect to the page"))?;
        println!("location: /verif/?token={}…", token.get(..20).unwrap_or_default());
        Ok(token.to_owned())
    }

    /// Uploads a specimen to the bucket; returns the reference to it for a form.
    async fn upload(&self, token: &str, field: &str, kind: &str, name: &str) -> Result<String, Error> {
        let path = self.specimens.join(name);
        let bytes = tokio::fs::read(&path).await.map_err(|error| Error::new(format!("{}: {error}", path.display())))?;
        let announced = json!({ "field": field, "contentType": kind, "size": bytes.len() });
        let request = self.request(Method::POST, "/api/uploads").bearer_auth(token).json(&announced);
        let made = self.expect(201, request).await?;
        let fields = made.get("fields").and_then(Value::as_object).into_iter().flatten();
        let form = fields.fold(Form::new(), |form, (name, value)| {
            form.text(name.clone(), value.as_str().unwrap_or_default().to_owned())
        });
        let url = text(&made, "/url")?;
        println!("POST {url}");
        let form = form.part("file", Part::bytes(bytes).file_name(name.to_owned()));
        let sent = self.http.post(url).multipart(form).send().await?;
        println!("{}", sent.status());
        sent.error_for_status()?;
        Ok(format!("upload:{}", text(&made, "/upload_id")?))
    }

    /// Waits until the local receiver has the webhook of a check.
    async fn wait_for_webhook(&self, check_id: &str) -> Result<(), Error> {
        for _ in 0..60 {
            let received: Vec<Value> = self.http.get(&self.addresses.receiver).send().await?.json().await?;
            let found = received
                .iter()
                .find(|webhook| webhook.pointer("/body/check_id").and_then(Value::as_str) == Some(check_id));
            if let Some(webhook) = found {
                println!("received, and its signature is good:\n{}", pretty(webhook));
                return Ok(());
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Err(Error::new("no webhook within a minute"))
    }

    async fn image(&self, name: &str) -> Result<Part, Error> {
        let path = self.specimens.join(name);
        let bytes = tokio::fs::read(&path).await.map_err(|error| Error::new(format!("{}: {error}", path.display())))?;
        Ok(Part::bytes(bytes).file_name(name.to_owned()))
    }
}

fn text(body: &Value, pointer: &str) -> Result<String, Error> {
    let found = body.pointer(pointer).and_then(Value::as_str);
    found.map(str::to_owned).ok_or_else(|| Error::new(format!("the answer has no {pointer}")))
}

/// JSON for printing, with long texts (tokens) shortened.
fn pretty(value: &Value) -> String {
    let mut value = value.clone();
    shorten(&mut value);
    serde_json::to_string_pretty(&value).unwrap_or_default()
}

fn shorten(value: &mut Value) {
    match value {
        Value::String(text) if text.chars().count() > 100 => *text = text.chars().take(90).chain(['…']).collect(),
        Value::Array(items) => items.iter_mut().for_each(shorten),
        Value::Object(fields) => fields.values_mut().for_each(shorten),
        _ => {}
    }
}
