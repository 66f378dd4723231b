//! Lambda binary of the function.
shared::http_function!(verification_page);
