//! Lambda binary of the function.
shared::http_function!(update_profile);
