// SPDX-License-Identifier: MIT

// Go's select has the cases that are written down: here 2, 8 and 64, waiting (receive) and with a default (poll).
package main

func receive2(c []chan uint64) (index int, value uint64) {
	select {
	case value = <-c[0]:
		return 0, value
	case value = <-c[1]:
		return 1, value
	}
}

func poll2(c []chan uint64) bool {
	select {
	case <-c[0]:
	case <-c[1]:
	default:
		return false
	}
	return true
}

func receive8(c []chan uint64) (index int, value uint64) {
	select {
	case value = <-c[0]:
		return 0, value
	case value = <-c[1]:
		return 1, value
	case value = <-c[2]:
		return 2, value
	case value = <-c[3]:
		return 3, value
	case value = <-c[4]:
		return 4, value
	case value = <-c[5]:
		return 5, value
	case value = <-c[6]:
		return 6, value
	case value = <-c[7]:
		return 7, value
	}
}

func poll8(c []chan uint64) bool {
	select {
	case <-c[0]:
	case <-c[1]:
	case <-c[2]:
	case <-c[3]:
	case <-c[4]:
	case <-c[5]:
	case <-c[6]:
	case <-c[7]:
	default:
		return false
	}
	return true
}

func receive64(c []chan uint64) (index int, value uint64) {
	select {
	case value = <-c[0]:
		return 0, value
	case value = <-c[1]:
		return 1, value
	case value = <-c[2]:
		return 2, value
	case value = <-c[3]:
		return 3, value
	case value = <-c[4]:
		return 4, value
	case value = <-c[5]:
		return 5, value
	case value = <-c[6]:
		return 6, value
	case value = <-c[7]:
		return 7, value
	case value = <-c[8]:
		return 8, value
	case value = <-c[9]:
		return 9, value
	case value = <-c[10]:
		return 10, value
	case value = <-c[11]:
		return 11, value
	case value = <-c[12]:
		return 12, value
	case value = <-c[13]:
		return 13, value
	case value = <-c[14]:
		return 14, value
	case value = <-c[15]:
		return 15, value
	case value = <-c[16]:
		return 16, value
	case value = <-c[17]:
		return 17, value
	case value = <-c[18]:
		return 18, value
	case value = <-c[19]:
		return 19, value
	case value = <-c[20]:
		return 20, value
	case value = <-c[21]:
		return 21, value
	case value = <-c[22]:
		return 22, value
	case value = <-c[23]:
		return 23, value
	case value = <-c[24]:
		return 24, value
	case value = <-c[25]:
		return 25, value
	case value = <-c[26]:
		return 26, value
	case value = <-c[27]:
		return 27, value
	case value = <-c[28]:
		return 28, value
	case value = <-c[29]:
		return 29, value
	case value = <-c[30]:
		return 30, value
	case value = <-c[31]:
		return 31, value
	case value = <-c[32]:
		return 32, value
	case value = <-c[33]:
		return 33, value
	case value = <-c[34]:
		return 34, value
	case value = <-c[35]:
		return 35, value
	case value = <-c[36]:
		return 36, value
	case value = <-c[37]:
		return 37, value
	case value = <-c[38]:
		return 38, value
	case value = <-c[39]:
		return 39, value
	case value = <-c[40]:
		return 40, value
	case value = <-c[41]:
		return 41, value
	case value = <-c[42]:
		return 42, value
	case value = <-c[43]:
		return 43, value
	case value = <-c[44]:
		return 44, value
	case value = <-c[45]:
		return 45, value
	case value = <-c[46]:
		return 46, value
	case value = <-c[47]:
		return 47, value
	case value = <-c[48]:
		return 48, value
	case value = <-c[49]:
		return 49, value
	case value = <-c[50]:
		return 50, value
	case value = <-c[51]:
		return 51, value
	case value = <-c[52]:
		return 52, value
	case value = <-c[53]:
		return 53, value
	case value = <-c[54]:
		return 54, value
	case value = <-c[55]:
		return 55, value
	case value = <-c[56]:
		return 56, value
	case value = <-c[57]:
		return 57, value
	case value = <-c[58]:
		return 58, value
	case value = <-c[59]:
		return 59, value
	case value = <-c[60]:
		return 60, value
	case value = <-c[61]:
		return 61, value
	case value = <-c[62]:
		return 62, value
	case value = <-c[63]:
		return 63, value
	}
}

func poll64(c []chan uint64) bool {
	select {
	case <-c[0]:
	case <-c[1]:
	case <-c[2]:
	case <-c[3]:
	case <-c[4]:
	case <-c[5]:
	case <-c[6]:
	case <-c[7]:
	case <-c[8]:
	case <-c[9]:
	case <-c[10]:
	case <-c[11]:
	case <-c[12]:
	case <-c[13]:
	case <-c[14]:
	case <-c[15]:
	case <-c[16]:
	case <-c[17]:
	case <-c[18]:
	case <-c[19]:
	case <-c[20]:
	case <-c[21]:
	case <-c[22]:
	case <-c[23]:
	case <-c[24]:
	case <-c[25]:
	case <-c[26]:
	case <-c[27]:
	case <-c[28]:
	case <-c[29]:
	case <-c[30]:
	case <-c[31]:
	case <-c[32]:
	case <-c[33]:
	case <-c[34]:
	case <-c[35]:
	case <-c[36]:
	case <-c[37]:
	case <-c[38]:
	case <-c[39]:
	case <-c[40]:
	case <-c[41]:
	case <-c[42]:
	case <-c[43]:
	case <-c[44]:
	case <-c[45]:
	case <-c[46]:
	case <-c[47]:
	case <-c[48]:
	case <-c[49]:
	case <-c[50]:
	case <-c[51]:
	case <-c[52]:
	case <-c[53]:
	case <-c[54]:
	case <-c[55]:
	case <-c[56]:
	case <-c[57]:
	case <-c[58]:
	case <-c[59]:
	case <-c[60]:
	case <-c[61]:
	case <-c[62]:
	case <-c[63]:
	default:
		return false
	}
	return true
}
