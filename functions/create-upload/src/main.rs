//! Lambda binary of the function.
shared::http_function!(create_upload);
