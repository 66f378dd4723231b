/// Unauthenticated requests: without a token, with one that is not valid, or of an account that is neither a superuser nor has the role
/// "service".
///
/// PocketBase reads the body of a request before it checks any rule, and the body of a batch may have 128 MB. So
/// unauthenticated requests are refused here, before their bodies are read. Routes that need no authentication are listed; all others
/// are closed.
///
/// The middleware runs after PocketBase has loaded the token (-1020) and counted the request for the rate limits (-1000), and before
/// PocketBase's own limits of bodies (-990).
routerUse(
  new Middleware(
    (e) => {
      // PocketBase runs this function in another runtime, in which nothing else of this file exists. So its constants are inside.
      if (e.hasSuperuserAuth()) return e.next();
      if (e.auth && e.auth.collection().name === "users" && e.auth.getString("role") === "service") return e.next();

      const OPEN = [
        "GET /api/health",
        "POST /api/collections/{collection}/auth-with-password",
        // These two are opened by a file token in the query, which their handlers check.
        "GET /api/files/{collection}/{recordId}/{filename}",
        "GET /api/backups/{key}",
        // The dashboard asks for it before it shows its sign-in form.
        "GET /api/collections/{collection}/auth-methods",
      ];
      // In bytes. A sign-in is an email and a password; a file token has about 300 bytes.
      const MAX_BODY = 4096;
      const MAX_QUERY = 2048;

      // The route's pattern, and not the path of the request, which can be spelled in many ways. A path without a route has the pattern
      // of the static files, which are open: they include the dashboard.
      const route = e.request.pattern;
      // Also for a large body 401 and not 413: a client whose token was revoked learns that it has to sign in again.
      if (route.includes("/api/") && !OPEN.includes(route)) throw new UnauthorizedError("Sign in first.");
      if (e.request.url.rawQuery.length > MAX_QUERY) throw new ApiError(414, "The query is too long.");
      // Refuses by the content length, and stops reading a body that does not announce its length.
      return $apis.bodyLimit(MAX_BODY).func(e);
    },
    -995,
    "unauthenticated",
  ),
);
