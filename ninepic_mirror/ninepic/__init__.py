"""The remote side: the API and the photos, paced, retried and not trusted (DESIGN §7 to §9)."""
