//! Lambda binary of the function.
shared::http_function!(issue_aws_credentials);
