//! Lambda binary of the function.
shared::http_function!(delete_profile);
