//! Lambda binary of the function.
shared::http_function!(submit_verification);
