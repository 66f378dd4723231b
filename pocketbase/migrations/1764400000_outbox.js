/// Partners that have due webhooks, statistics of the outbox for alarms, and the deletion of old webhooks.
migrate(
  (app) => {
    const SERVICE = '@request.auth.collectionName = "users" && @request.auth.role = "service"';
    const view = (name, viewQuery) => app.save(new Collection({ type: "view", name, listRule: SERVICE, viewQuery }));

    const deliveries = app.findCollectionByNameOrId("webhook_deliveries");
    // For each partner, its webhooks in the order in which they are due.
    deliveries.addIndex("idx_webhook_deliveries_partner_due", false, "partner, redacted, next_attempt", "state = 'pending'");
    deliveries.addIndex("idx_webhook_deliveries_failed", false, "state", "state = 'failed'");
    deliveries.addIndex("idx_webhook_deliveries_updated", false, "updated", "");
    // The retention job deletes webhooks that have ended, and those that wait for an endpoint that is never enabled again.
    deliveries.deleteRule = `${SERVICE} && (state != "pending" || updated < @yesterday)`;
    app.save(deliveries);

    const now = "strftime('%Y-%m-%d %H:%M:%fZ', 'now')";
    const enabled = "p.active = TRUE AND p.webhook_url != '' AND p.webhook_disabled = ''";
    // The webhook of a partner that has been due for longest. Those that wait for an earlier one of their stream do not count.
    const longest = (condition) => `(SELECT d.next_attempt FROM webhook_deliveries AS d
      WHERE d.partner = p.id AND d.redacted = FALSE AND d.state = 'pending' AND d.next_attempt <= ${now} ${condition}
        AND (d.resent = TRUE OR NOT EXISTS (SELECT 1 FROM webhook_deliveries AS e
          WHERE e.stream = d.stream AND e.partner = d.partner AND e.rowid < d.rowid
            AND e.state = 'pending' AND e.resent = FALSE AND e.redacted = FALSE))
      ORDER BY d.next_attempt LIMIT 1)`;

    // One row per partner, so that many webhooks of one partner do not hide those of another. `next_attempt` is empty for a partner
    // without a due webhook.
    view(
      "webhook_partners_due",
      `SELECT p.id, CAST(${longest(`AND (d.leased_until = '' OR d.leased_until < ${now})`)} AS TEXT) AS next_attempt
        FROM partners AS p WHERE ${enabled}`,
    );

    // One row. Webhooks of disabled endpoints wait for their partner and are not counted as pending.
    view(
      "webhook_statistics",
      `SELECT 'outbox' AS id,
        CAST((SELECT SUM((SELECT COUNT(*) FROM webhook_deliveries AS d
          WHERE d.partner = p.id AND d.redacted = FALSE AND d.state = 'pending')) FROM partners AS p WHERE ${enabled}) AS INT) AS pending,
        CAST((SELECT MIN(${longest("")}) FROM partners AS p WHERE ${enabled}) AS TEXT) AS oldest_due,
        CAST((SELECT COUNT(*) FROM webhook_deliveries AS f WHERE f.state = 'failed') AS INT) AS failed,
        CAST((SELECT COUNT(*) FROM partners AS e WHERE e.active = TRUE AND e.webhook_disabled != '') AS INT) AS disabled_endpoints`,
    );
  },
  () => {
    throw new Error("the schema is not taken back: restore a backup of the data folder instead");
  },
);
