"""Room 2: a chunk of rows -> the accepted ones as JSON columns, and the rejections.

chunk_judge  what both passes do with a chunk: the user's transform, then the judge, in threads
transform    the user's own code on a chunk
frames       a chunk as a DataFrame, and back
judge        the declared columns and the API's limits; every reason that a row is rejected for
"""
