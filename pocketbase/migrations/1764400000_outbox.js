/// Partners that have due webhooks, statistics of the outbox for alarms, and the deletion of old webhooks.
migrate(
  (app) => {
    const SERVICE = '@request.auth.collectionName = "users" && @request.auth.role = "service"';
    const view = (name, viewQuery) => app.save(new Collection({ type: "view", name, listRule: SERVICE, viewQuery }));
    const now = "strftime('%Y-%m-%d %H:%M:%fZ', 'now')";
    const waiting = `FROM webhook_deliveries AS d
      JOIN partners AS p ON p.id = d.partner
      WHERE d.state = 'pending' AND d.redacted = FALSE AND p.active = TRUE AND p.webhook_url != '' AND p.webhook_disabled = ''`;

    // One row per partner, so that many webhooks of one partner do not hide those of another.
    view(
      "webhook_partners_due",
      `SELECT d.partner AS id, MIN(d.next_attempt) AS next_attempt ${waiting}
        AND d.next_attempt <= ${now} AND (d.leased_until = '' OR d.leased_until < ${now})
        GROUP BY d.partner`,
    );

    // One row. Webhooks of disabled endpoints wait for their partner and are not counted as pending.
    view(
      "webhook_statistics",
      `SELECT 'outbox' AS id,
        CAST((SELECT COUNT(*) ${waiting}) AS INT) AS pending,
        CAST((SELECT MIN(d.next_attempt) ${waiting} AND d.next_attempt <= ${now}) AS TEXT) AS oldest_due,
        CAST((SELECT COUNT(*) FROM webhook_deliveries AS f WHERE f.state = 'failed') AS INT) AS failed,
        CAST((SELECT COUNT(*) FROM partners AS e WHERE e.active = TRUE AND e.webhook_disabled != '') AS INT) AS disabled_endpoints`,
    );

    const deliveries = app.findCollectionByNameOrId("webhook_deliveries");
    deliveries.addIndex("idx_webhook_deliveries_failed", false, "state", "state = 'failed'");
    // The retention job deletes those that have ended.
    deliveries.addIndex("idx_webhook_deliveries_ended", false, "created", "state != 'pending'");
    deliveries.deleteRule = `${SERVICE} && state != "pending"`;
    app.save(deliveries);
  },
  () => {
    throw new Error("the schema is not taken back: restore a backup of the data folder instead");
  },
);
