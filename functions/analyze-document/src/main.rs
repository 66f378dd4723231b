//! Lambda binary of the function.
shared::http_function!(analyze_document);
