//! Parts of a request: credentials, path parameters, ids and addresses.

use lambda_http::http::HeaderMap;
use lambda_http::http::header::{AUTHORIZATION, HeaderName};
use lambda_http::request::RequestContext;
use lambda_http::{Request, RequestExt};

use crate::auth::Credentials;

/// The header of API keys.
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Credentials in the headers of a request.
pub fn credentials(headers: &HeaderMap) -> Credentials<'_> {
    // A value that is not text becomes empty, which is an invalid credential.
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    Credentials { authorization: text(AUTHORIZATION), api_key: text(API_KEY) }
}

/// A path parameter as the caller sent it; empty when the route has no parameter of this name.
pub fn path_parameter(request: &Request, name: &str) -> String {
    request.path_parameters_ref().and_then(|parameters| parameters.first(name)).unwrap_or_default().to_owned()
}

/// The caller's IP address, as the gateway states it. Headers are not used, since callers can forge them.
pub fn source_ip(request: &Request) -> Option<String> {
    match request.request_context_ref()? {
        RequestContext::ApiGatewayV2(context) => context.http.source_ip.clone(),
        _ => None,
    }
}

/// The gateway's id of a request; Lambda's own where there is none.
pub fn request_id(request: &Request) -> String {
    let gateway = match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV2(context)) => context.request_id.clone(),
        _ => None,
    };
    let lambda = || request.lambda_context_ref().map(|context| context.request_id.clone());
    gateway.or_else(lambda).unwrap_or_default()
}
