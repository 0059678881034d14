-- Which products bundles tie together is asked set by set: pair by pair, a bundle of forty costs its square.
DROP FUNCTION matching.tied(text, text[]);
