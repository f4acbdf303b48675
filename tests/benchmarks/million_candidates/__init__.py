"""The served cascade over a million candidates, against libraries for nearest neighbours."""
