//! The bucket and the queue of a development stack, in moto.

use reqwest::{Client, Method};

use crate::Error;

/// The bucket.
pub const BUCKET: &str = "identivia-uploads";

/// Makes the bucket as template.yaml describes it: browsers of any origin may send forms to it. Made again it stays as it is.
///
/// # Errors
/// When moto fails.
pub async fn make_bucket(moto: &str) -> Result<(), Error> {
    let http = Client::new();
    let put = async |path: &str, body: &'static str| {
        let response = http.request(Method::PUT, format!("{moto}/{BUCKET}{path}")).body(body).send().await?;
        response.error_for_status().map(|_| ()).map_err(Error::from)
    };
    put("", "").await?;
    put(
        "?cors",
        "<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>POST</AllowedMethod>\
         <AllowedHeader>*</AllowedHeader></CORSRule></CORSConfiguration>",
    )
    .await
}
