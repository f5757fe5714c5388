"""Users, photos, imports, reports, suppliers and newsletters."""
