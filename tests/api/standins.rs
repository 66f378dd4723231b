//! Operations of the stand-ins that no function calls yet, through the AWS SDK.

use aws_sdk_rekognition::Client;
use aws_sdk_rekognition::primitives::Blob;
use aws_sdk_rekognition::types::Image;
use shared::aws;
use shared::env::Env;

use crate::support::{JPEG, stand_ins};

async fn client() -> Client {
    let (_, url) = stand_ins();
    let variables = local::standins::variables(&Env::default(), &url, "http://127.0.0.1:1");
    let env: Env = variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Client::new(&aws::config(&aws::Settings::from_env(&env).unwrap(), "REKOGNITION").await)
}

fn photo(says: &str) -> Image {
    Image::builder().bytes(Blob::new([JPEG, b"specimen:", says.as_bytes()].concat())).build()
}

#[tokio::test]
async fn faces_are_compared_by_who_the_specimens_show() {
    let rekognition = client().await;
    let compare = async |source: &str, target: &str, threshold: f32| {
        let request = rekognition.compare_faces().source_image(photo(source)).target_image(photo(target));
        request.similarity_threshold(threshold).send().await
    };
    let (anna, boris) = (r#"{"person":"anna"}"#, r#"{"person":"boris"}"#);
    for (source, target, threshold, matched, unmatched) in [
        (anna, anna, 80.0, 1, 0),
        (anna, boris, 80.0, 0, 1),
        (anna, boris, 1.0, 1, 0),
        (anna, r#"{"person":"anna","faces":2}"#, 80.0, 1, 1),
    ] {
        let answer = compare(source, target, threshold).await.unwrap();
        assert_eq!(
            (answer.face_matches().len(), answer.unmatched_faces().len()),
            (matched, unmatched),
            "{source} {target}"
        );
    }
    let error = compare(r#"{"faces":0}"#, anna, 80.0).await.unwrap_err().into_service_error();
    assert!(error.is_invalid_parameter_exception(), "AWS's answer where the source shows no face: {error:?}");
}

#[tokio::test]
async fn faces_are_counted() {
    let rekognition = client().await;
    for (says, count) in [("{}", 1), (r#"{"faces":0}"#, 0), (r#"{"faces":3}"#, 3)] {
        let answer = rekognition.detect_faces().image(photo(says)).send().await.unwrap();
        assert_eq!(answer.face_details().len(), count, "{says}");
    }
    let text = Image::builder().bytes(Blob::new("no image")).build();
    let error = rekognition.detect_faces().image(text).send().await.unwrap_err().into_service_error();
    assert!(error.is_invalid_image_format_exception(), "{error:?}");
}
