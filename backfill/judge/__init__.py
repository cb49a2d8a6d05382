"""A chunk of rows -> the accepted ones as JSON columns, and the rejections with all their reasons.

stage      what both passes do with a chunk: the user's transform, then the judge
transform  the user's own code on a chunk
frames     a chunk as a DataFrame, and back
schema     the judge: the declared columns and the API's limits
findings   what is wrong with a chunk's rows, gathered column by column
"""
