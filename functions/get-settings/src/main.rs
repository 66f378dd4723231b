//! Lambda binary of the function.
shared::http_function!(get_settings);
