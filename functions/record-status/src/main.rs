//! Lambda binary of the function.
shared::http_function!(record_status);
