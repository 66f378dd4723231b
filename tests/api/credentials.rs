//! GET /api/aws/credentials: the request to STS, in both modes.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::support::{Answer, App, NO_AWS, Recorder};

const ROLE: &str = "arn:aws:iam::123456789012:role/liveness-client";

/// What a function has in Lambda: its role's key, and a role for browsers.
const UNDER_A_ROLE: [(&str, &str); 4] = [
    ("AWS_ACCESS_KEY_ID", "ASIADEVELOPMENT"),
    ("AWS_SECRET_ACCESS_KEY", "of-the-role"),
    ("AWS_SESSION_TOKEN", "of-the-role"),
    ("LIVENESS_CLIENT_ROLE_ARN", ROLE),
];

async fn app(recorder: &Recorder, own: &[(&str, &str)]) -> App {
    App::with(&[own, &[("AWS_ENDPOINT_URL_STS", &recorder.url)]].concat()).await
}

async fn ask(app: &App) -> Answer {
    app.get("/api/aws/credentials").bearer(&app.token("postman").await).send().await
}

/// The one request that STS got, by its parameters.
fn sent(recorder: &Recorder) -> BTreeMap<String, String> {
    let bodies = recorder.bodies();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    url::form_urlencoded::parse(bodies[0].as_bytes()).into_owned().collect()
}

fn policy(request: &BTreeMap<String, String>) -> Value {
    serde_json::from_str(&request["Policy"]).unwrap()
}

#[tokio::test]
async fn a_key_is_good_for_fifteen_minutes_and_two_actions_in_both_modes() {
    let two_actions = json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Action": ["rekognition:StartFaceLivenessSession", "rekognition:GetFaceLivenessSessionResults"],
            "Resource": "*",
        }],
    });
    for (own, action, named) in [
        (&[][..], "GetFederationToken", "Name"),
        // A long-term key beside a role for browsers can do without the role.
        (&UNDER_A_ROLE[3..], "GetFederationToken", "Name"),
        (&UNDER_A_ROLE[..], "AssumeRole", "RoleSessionName"),
    ] {
        let recorder = Recorder::new().await;
        let app = app(&recorder, own).await;
        let answer = ask(&app).await;
        assert_eq!((answer.status, answer.header("cache-control")), (200, "no-store"), "{answer:?}");
        let request = sent(&recorder);
        assert_eq!((request["Action"].as_str(), request["DurationSeconds"].as_str()), (action, "900"));
        assert_eq!(policy(&request), two_actions);
        let name = &request[named];
        assert!(name.len() == 32 && name.starts_with("identivia-") && !name.contains("postman"), "{name}");
        assert_eq!(ask(&app).await.status, 200);
        assert_eq!(&sent(&recorder)[named], name, "the same for the same caller");
        assert_eq!(request.get("RoleArn").map(String::as_str), (action == "AssumeRole").then_some(ROLE));
        assert!(request["Policy"].len() < 2_048, "STS takes no more");
        let expires: DateTime<Utc> = answer.text("/data/expiration").parse().unwrap();
        let lifetime = (expires - Utc::now()).num_seconds();
        assert!((800..=900).contains(&lifetime), "{lifetime}");
    }
}

#[tokio::test]
async fn without_a_long_term_key_or_a_role_it_is_501() {
    for own in [&NO_AWS[..], &UNDER_A_ROLE[..3]] {
        let recorder = Recorder::new().await;
        let answer = ask(&app(&recorder, own).await).await;
        let expected = json!({
            "error": "AWS credentials not configured",
            "message": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY must be set in environment variables",
        });
        assert_eq!((answer.status, &answer.body), (501, &expected));
        assert!(recorder.bodies().is_empty());
    }
}

#[tokio::test]
async fn the_failures_of_sts_are_told_apart() {
    let error = |code: &str| {
        let error =
            format!("<Error><Type>Sender</Type><Code>{code}</Code><Message>secret-of-the-upstream</Message></Error>");
        format!(
            "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">{error}<RequestId>r</RequestId></ErrorResponse>"
        )
    };
    let recorder = Recorder::new().await;
    for own in [&[][..], &UNDER_A_ROLE[..]] {
        let app = app(&recorder, own).await;
        for (status, body, expected) in [
            (403, error("AccessDenied"), 403),
            (403, error("InvalidClientTokenId"), 403),
            (403, error("SignatureDoesNotMatch"), 403),
            (400, error("Throttling"), 429),
            (500, error("InternalFailure"), 502),
            (400, error("PackedPolicyTooLarge"), 502),
            (200, "<h1>secret-of-the-upstream</h1>".to_owned(), 502),
        ] {
            recorder.refuse(status, &body);
            let answer = ask(&app).await;
            assert_eq!(answer.status, expected, "{status} {body}: {answer:?}");
            assert!(!answer.body.to_string().contains("secret-of-the-upstream"), "{answer:?}");
            assert_eq!(!answer.header("retry-after").is_empty(), expected == 429);
        }
        recorder.relent();
        assert_eq!(ask(&app).await.status, 200, "and then all is well");
    }
    let app = App::with(&[("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1")]).await;
    assert_eq!(ask(&app).await.status, 504);
}
