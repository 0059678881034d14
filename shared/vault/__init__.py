"""What must not enter the log: persons, free text, secrets and whole source files (protocols.md section 17).

Each object is ciphertext under a random key of its own; that key is stored wrapped by the master key. A record names
the SHA-256 of the ciphertext, or ``person:<uuid>``. To erase an object is to delete its wrapped key and its
ciphertext: the records that name it stay true, and nothing can be read any more.
"""
