//! Lambda binary of the function.
shared::http_function!(resend_delivery);
