//! Error answers about deliveries.

use lambda_http::http::StatusCode;
use shared::http::ApiError;

/// 404 for a delivery that does not exist or is not the caller's.
pub fn delivery_not_found() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "Delivery not found")
}
