//! Lambda binary of the function.
shared::http_function!(not_found);
