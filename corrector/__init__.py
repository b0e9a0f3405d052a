"""Correction of one answer toward objectives written as text; knows nothing of tenants or HTTP surfaces."""
